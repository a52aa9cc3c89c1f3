"""Which layer of PE-Spatial B knows most about the depth in your images? Frozen; set `data.images` and `data.depths`.

python tools/probe_layers.py --config-file configs/probe/custom_depth.py data.images=DIR data.depths=DIR
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import LayerProbe
from pe_dense.modeling.depth import build_linear_depth

from ..common.frozen_spatial_b16 import backbone as _backbone
from ..common.own_depth import data, dataloader
from ..common.own_depth import evaluator as _evaluator

model = L(LayerProbe)(
    model=L(build_linear_depth)(
        backbone=_backbone,
        max_depth="${data.max_depth}",
        pixel_mean=[127.5, 127.5, 127.5],
        pixel_std=[127.5, 127.5, 127.5],
    ),
    layers=None,
)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.01)
lr_schedule = L(CosineSchedule)(warmup_steps=100)
train = L(TrainSettings)(output_dir="output/probe_custom_depth", epochs=20, seed=0, clip_norm=35.0, best_metric=None)
