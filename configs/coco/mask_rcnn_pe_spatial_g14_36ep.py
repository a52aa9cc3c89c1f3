"""Mask R-CNN on PE-Spatial G, COCO, 36 epochs: the released recipe.

Meta published 57.8 box / 50.3 mask AP. Not trained here.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import FeaturePyramid, pe_spatial_g14_448
from pe_dense.modeling.detection import build_mask_rcnn

from ..common.released import data, dataloader, evaluator, lr_schedule, optimizer, pixels, tower, train

model = L(build_mask_rcnn)(
    backbone=L(FeaturePyramid)(backbone=L(pe_spatial_g14_448)(weights="PE-Spatial-G14-448", **tower)),
    num_classes=80,
    square_size="${data.image_size}",
    pixel_mean="${pixels.mean}",
    pixel_std="${pixels.std}",
)
lr_schedule.milestones = [59000, 63916]
lr_schedule.warmup_steps = 250 * 66375 / 184375  # shrunk together with the schedule
train.steps = 66375
train.output_dir = "output/mask_rcnn_pe_spatial_g14_36ep"
del tower  # it is in the model now
