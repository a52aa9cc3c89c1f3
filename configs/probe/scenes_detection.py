"""A small Mask R-CNN on every layer of a small frozen encoder, on the embedded scenes, on a CPU or any GPU.

Make the scenes first: `python tools/make_scenes.py --output datasets/scenes`. The encoder's weights are random; give a
trained one with `--encoder-from RUN`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_classes
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import FeaturePyramid, LayerProbe

from ..common.small_detector import lr_schedule, optimizer
from ..common.small_detector import model as _model
from ..common.small_encoder import encoder as _encoder
from ..demo.mask_rcnn_scenes import data, dataloader
from ..demo.mask_rcnn_scenes import evaluator as _evaluator

_model.backbone = L(FeaturePyramid)(
    backbone=_encoder, out_channels=64, layers=[-1], levels=["p3", "p4", "p5", "p6"], trainable_blocks=0
)
_model.anchor_sizes = [12, 24, 48, 96]
_model.num_classes = L(count_classes)(json_file="${data.root}/annotations/instances_train.json")
model = L(LayerProbe)(model=_model, layers=None)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
train = L(TrainSettings)(
    output_dir="output/probe_scenes_detection", epochs=4, seed=0, clip_norm=3.0, checkpoint_period=1, best_metric=None
)
