"""Mask R-CNN on PE-Spatial B, COCO, 36 epochs at 1024 px: the last 4 blocks of the backbone train. Not trained here."""

from .mask_rcnn_pe_spatial_b16_36ep import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.trainable_blocks = 4
train.output_dir = "output/mask_rcnn_pe_spatial_b16_last4_36ep"
