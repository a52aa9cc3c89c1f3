"""Linear depth head on four layers of PE-Spatial B, frozen; NYU, DINOv2's settings. Not trained here."""

from .linear1_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.layers = [2, 5, 8, 11]
train.output_dir = "output/nyu_linear4_pe_spatial_b16"
