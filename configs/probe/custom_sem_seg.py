"""Which layer of PE-Spatial B tells your classes apart? Frozen; set `data.images`, `data.masks` and `data.classes`.

python tools/probe_layers.py --config-file configs/probe/custom_sem_seg.py data.images=D data.masks=D data.classes=F
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_sem_seg_classes
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import LayerProbe
from pe_dense.modeling.segmentation import build_linear_segmenter

from ..common.frozen_spatial_b16 import backbone as _backbone
from ..common.own_sem_seg import data, dataloader
from ..common.own_sem_seg import evaluator as _evaluator

model = L(LayerProbe)(
    model=L(build_linear_segmenter)(
        backbone=_backbone,
        num_classes=L(count_sem_seg_classes)(classes="${data.classes}"),
        pixel_mean=[127.5, 127.5, 127.5],
        pixel_std=[127.5, 127.5, 127.5],
    ),
    layers=None,
)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
optimizer = L(AdamW)(lr=1e-3, weight_decay=1e-4)
lr_schedule = L(CosineSchedule)(warmup_steps=100)
train = L(TrainSettings)(output_dir="output/probe_custom_sem_seg", epochs=20, seed=0, best_metric=None)
