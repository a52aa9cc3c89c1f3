"""Objects of a video followed by the features of PE-Spatial B's last layer, nothing trained; DINOv3's protocol."""

from ..common.davis_propagation import dinov3 as _propagation
from .propagation_pe_spatial_b16 import model

model.propagation = _propagation
