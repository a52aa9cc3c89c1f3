"""A projection of PE-Spatial G's last layer for label propagation, trained on DAVIS 2017; DINO's protocol."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import pe_spatial_g14_448
from pe_dense.modeling.tracking import LearnedTracker, ProjectedFeatures, TokenProjection

from ..common.davis_projection import data, dataloader, evaluator, lr_schedule, optimizer, train
from ..common.davis_projection import loss as _loss
from ..common.davis_propagation import dino as _propagation

model = L(LearnedTracker)(
    backbone=L(ProjectedFeatures)(
        backbone=L(pe_spatial_g14_448)(weights="PE-Spatial-G14-448"),
        projection=L(TokenProjection)(dim=1536, hidden_dim=1536),
        layers=[-1],
        norm=False,
    ),
    propagation=_propagation,
    loss=_loss,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train.output_dir = "output/davis_projection_pe_spatial_g14"
