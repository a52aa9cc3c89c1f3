"""A linear depth head on every layer of a small frozen encoder, on the embedded scenes, on a CPU or any GPU.

Make the scenes first: `python tools/make_scenes.py --output datasets/scenes`. The encoder's weights are random; give a
trained one with `--encoder-from RUN`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import EncoderFeatures, LayerProbe
from pe_dense.modeling.depth import build_linear_depth

from ..common.small_encoder import encoder as _encoder
from ..common.small_encoder import lr_schedule, optimizer
from ..scenes.depth_small import data, dataloader
from ..scenes.depth_small import evaluator as _evaluator

model = L(LayerProbe)(
    model=L(build_linear_depth)(
        backbone=L(EncoderFeatures)(backbone=_encoder, layers=[-1], trainable_blocks=0),
        max_depth="${data.max_depth}",
        use_cls=False,
        norm="bn",
        pixel_mean=[127.5, 127.5, 127.5],
        pixel_std=[127.5, 127.5, 127.5],
    ),
    layers=None,
)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
train = L(TrainSettings)(
    output_dir="output/probe_scenes_depth", epochs=6, seed=0, clip_norm=3.0, checkpoint_period=2, best_metric=None
)
