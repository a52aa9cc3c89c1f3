"""PE-Spatial B, frozen, for heads on its last layer."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import EncoderFeatures, pe_spatial_b16_512

backbone = L(EncoderFeatures)(
    backbone=L(pe_spatial_b16_512)(weights="PE-Spatial-B16-512"), layers=[11], trainable_blocks=0
)
