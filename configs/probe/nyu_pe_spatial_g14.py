"""A linear depth head on every layer of PE-Spatial G, frozen; NYU, DINOv2's settings. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_g14_448

from .nyu_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.model.backbone.backbone = L(pe_spatial_g14_448)(weights="PE-Spatial-G14-448")
model.model.backbone.layers = [-1]
model.model.use_cls = False  # this tower has no class token
train.precision = "bf16"
train.output_dir = "output/probe_nyu_pe_spatial_g14"
