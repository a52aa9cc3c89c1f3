"""Mask R-CNN on PE-Spatial B, LVIS v1, 75 epochs at 1024 px.

Sensibly scaled from the released recipes, at twice the COCO recipe's rate, as in ViTDet; not trained here.
"""

from ..coco.mask_rcnn_pe_spatial_b16_36ep import lr_schedule, model, optimizer, train
from ..common.lvis import data, dataloader, evaluator, set_lvis_head

set_lvis_head(model)
optimizer.lr = 0.0002
lr_schedule.milestones = [67, 72]
train.epochs = 75
train.output_dir = "output/lvis_mask_rcnn_pe_spatial_b16_75ep"
