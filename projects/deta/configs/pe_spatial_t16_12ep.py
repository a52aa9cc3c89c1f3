"""DETA on PE-Spatial T with a small transformer, COCO, 12 epochs at 1024 px on one GPU. Not trained here."""

from ....configs.coco.mask_rcnn_pe_spatial_t16_36ep import model as _mask_rcnn
from .common.one_gpu import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.backbone = _mask_rcnn.backbone.backbone
model.backbone.backbone.checkpoint_every = 1
model.num_queries = 300
model.num_encoder_layers = model.num_decoder_layers = 3
model.feedforward_dim = 1024
train.output_dir = "output/deta_pe_spatial_t16_12ep"
