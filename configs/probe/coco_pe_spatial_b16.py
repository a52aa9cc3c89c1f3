"""Mask R-CNN on every layer of PE-Spatial B, frozen; COCO, 12 epochs at 1024 px. Not trained here.

The encoder attends globally in all blocks: with windows in some of them, layers would differ by more than their depth.
"""

from pe_dense.config import LazyCall as L
from pe_dense.evaluation import LayerEvaluator
from pe_dense.modeling.backbone import FeaturePyramid, LayerProbe, pe_spatial_b16_512
from pe_dense.modeling.detection import build_mask_rcnn

from ..common.coco import data, dataloader
from ..common.coco import evaluator as _evaluator
from ..common.schedule import lr_schedule, optimizer, train

model = L(LayerProbe)(
    model=L(build_mask_rcnn)(
        backbone=L(FeaturePyramid)(
            backbone=L(pe_spatial_b16_512)(weights="PE-Spatial-B16-512"), mode="last", layers=[-1], trainable_blocks=0
        ),
        num_classes=80,
        square_size="${data.image_size}",
        pixel_mean=[127.5, 127.5, 127.5],
        pixel_std=[127.5, 127.5, 127.5],
    ),
    layers=None,
)
evaluator = L(LayerEvaluator)(evaluator=_evaluator)
optimizer.layer_decay = None
lr_schedule.milestones = [8, 11]
train.epochs = 12
train.eval_period = 0
train.best_metric = None
train.output_dir = "output/probe_coco_pe_spatial_b16"
