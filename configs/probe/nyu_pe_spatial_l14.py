"""A linear depth head on every layer of PE-Spatial L, frozen; NYU, DINOv2's settings. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_l14_448

from .nyu_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.model.backbone.backbone = L(pe_spatial_l14_448)(weights="PE-Spatial-L14-448")
model.model.backbone.layers = [-1]
train.output_dir = "output/probe_nyu_pe_spatial_l14"
