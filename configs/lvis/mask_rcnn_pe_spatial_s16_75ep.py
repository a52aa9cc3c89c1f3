"""Mask R-CNN on PE-Spatial S, LVIS v1, 75 epochs at 1024 px.

Sensibly scaled from the released recipes, at the rate of the COCO recipe; not trained here.
"""

from ..coco.mask_rcnn_pe_spatial_s16_36ep import lr_schedule, model, optimizer, train
from ..common.lvis import data, dataloader, evaluator, set_lvis_head

set_lvis_head(model)
lr_schedule.milestones = [67, 72]
train.epochs = 75
train.output_dir = "output/lvis_mask_rcnn_pe_spatial_s16_75ep"
