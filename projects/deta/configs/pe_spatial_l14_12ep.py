"""DETA on PE-Spatial L (patches resized to 16 px), COCO, 12 epochs at 1024 px on one GPU. Not trained here."""

from ....configs.coco.mask_rcnn_pe_spatial_l14_36ep import model as _mask_rcnn
from .common.one_gpu import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.backbone = _mask_rcnn.backbone.backbone
optimizer.layer_decay = 0.8
train.output_dir = "output/deta_pe_spatial_l14_12ep"
