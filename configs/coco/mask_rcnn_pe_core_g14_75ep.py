"""Mask R-CNN on PE-Core G, COCO, 75 epochs: the released recipe.

Meta published 57.0 box / 49.8 mask AP. Not trained here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import FeaturePyramid, pe_core_g14_448
from pe_dense.modeling.detection import build_mask_rcnn

from ..common.released import data, dataloader, evaluator, lr_schedule, optimizer, pixels, tower, train

model = L(build_mask_rcnn)(
    backbone=L(FeaturePyramid)(backbone=L(pe_core_g14_448)(weights="PE-Core-G14-448", pool=False, **tower)),
    num_classes=80,
    square_size="${data.image_size}",
    pixel_mean="${pixels.mean}",
    pixel_std="${pixels.std}",
)
lr_schedule.milestones = [122916, 133159]
lr_schedule.warmup_steps = 250 * 138281 / 184375  # shrunk together with the schedule
train.steps = 138281
train.output_dir = "output/mask_rcnn_pe_core_g14_75ep"
del tower  # it is in the model now
