"""Objects of videos followed by features of PE-Spatial B's last layer; DAVIS 2017, DINO's protocol."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import EncoderFeatures, pe_spatial_b16_512
from pe_dense.modeling.tracking import VideoObjectTracker

from ..common.davis_propagation import dino as _propagation

model = L(VideoObjectTracker)(
    backbone=L(EncoderFeatures)(
        backbone=L(pe_spatial_b16_512)(weights="PE-Spatial-B16-512"), layers=[-1], norm=False, trainable_blocks=0
    ),
    propagation=_propagation,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
