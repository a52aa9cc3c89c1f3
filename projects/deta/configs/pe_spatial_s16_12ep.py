"""DETA on PE-Spatial S, COCO, 12 epochs at 1024 px on one GPU. Not trained here."""

from ....configs.coco.mask_rcnn_pe_spatial_s16_36ep import model as _mask_rcnn
from .common.one_gpu import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.backbone = _mask_rcnn.backbone.backbone
model.backbone.backbone.checkpoint_every = 1
train.output_dir = "output/deta_pe_spatial_s16_12ep"
