"""Mask R-CNN on PE-Spatial L (patches resized to 16 px), LVIS v1, 75 epochs at 1024 px.

Sensibly scaled from the released recipes, at twice the COCO recipe's rate, as in ViTDet and PE's paper; not trained
here.
"""

from ..coco.mask_rcnn_pe_spatial_l14_36ep import lr_schedule, model, optimizer, train
from ..common.lvis import data, dataloader, evaluator, set_lvis_head

set_lvis_head(model)
optimizer.lr = 0.0002
lr_schedule.milestones = [67, 72]
train.epochs = 75
train.output_dir = "output/lvis_mask_rcnn_pe_spatial_l14_75ep"
