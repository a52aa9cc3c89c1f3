"""Objects of videos followed by the mean colours of patches, the baseline of all encoders; DAVIS 2017, DINO's rules."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.tracking import ColorFeatures, VideoObjectTracker

from ..common.davis_propagation import dino as _propagation

model = L(VideoObjectTracker)(
    backbone=L(ColorFeatures)(patch_size=16),
    propagation=_propagation,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
