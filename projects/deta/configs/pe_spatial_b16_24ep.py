"""DETA on PE-Spatial B, COCO, 24 epochs at 1024 px on one GPU. Not trained here."""

from .pe_spatial_b16_12ep import data, dataloader, evaluator, lr_schedule, model, optimizer, train

lr_schedule.milestones = [20]
train.epochs = 24
train.output_dir = "output/deta_pe_spatial_b16_24ep"
