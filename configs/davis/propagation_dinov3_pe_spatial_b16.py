"""Objects of videos followed by features of PE-Spatial B's last layer; DAVIS 2017, DINOv3's protocol."""

from ..common.davis_propagation import dinov3 as _propagation
from .propagation_pe_spatial_b16 import model

model.propagation = _propagation
