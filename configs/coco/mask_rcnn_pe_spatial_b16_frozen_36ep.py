"""Mask R-CNN on PE-Spatial B, COCO, 36 epochs at 1024 px: frozen backbone. Not trained here."""

from .mask_rcnn_pe_spatial_b16_36ep import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.trainable_blocks = 0
model.backbone.mode = "weighted"  # the best features for dense tasks lie in intermediate layers
model.backbone.layers = [5, 7, 9, 11]
optimizer.layer_decay = None
train.output_dir = "output/mask_rcnn_pe_spatial_b16_frozen_36ep"
