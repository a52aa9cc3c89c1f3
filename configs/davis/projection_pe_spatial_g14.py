"""A projection of PE-Spatial G's last layer for label propagation, trained on DAVIS 2017; DINO's protocol."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_g14_448

from ..common.davis_projection import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone.backbone = L(pe_spatial_g14_448)(weights="PE-Spatial-G14-448")
model.backbone.projection.dim, model.backbone.projection.hidden_dim = 1536, 1536
train.output_dir = "output/davis_projection_pe_spatial_g14"
