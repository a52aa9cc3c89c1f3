"""A linear segmentation head on every layer of PE-Spatial L, frozen; ADE20K, DINOv2's settings. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_l14_448

from .ade20k_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.model.backbone.backbone = L(pe_spatial_l14_448)(weights="PE-Spatial-L14-448")
model.model.backbone.layers = [-1]
train.output_dir = "output/probe_ade20k_pe_spatial_l14"
