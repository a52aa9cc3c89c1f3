"""Mask R-CNN on PE-Spatial G, LVIS v1, 75 epochs (of COCO's length): the released recipe.

Meta published 54.2 box / 49.3 mask AP. Not trained here.
"""

from ..coco.mask_rcnn_pe_spatial_g14_36ep import lr_schedule, model, optimizer, pixels, train
from ..common.lvis import data, dataloader, evaluator, set_lvis_head

set_lvis_head(model)
dataloader.train.transforms[1].shared_offset = True  # one random number places the crop along both axes
lr_schedule.milestones = [122916, 133159]
lr_schedule.warmup_steps = 250 * 138281 / 184375  # shrunk together with the schedule
train.steps = 138281  # 75 epochs of COCO, 88 of LVIS
train.eval_steps = 30000
train.output_dir = "output/lvis_mask_rcnn_pe_spatial_g14_75ep"
