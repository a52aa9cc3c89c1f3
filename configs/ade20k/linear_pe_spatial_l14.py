"""PE's own probe on the last layer of PE-Spatial L, frozen; ADE20K. Not trained here.

Published: mIoU 48.1 (NeurIPS 2025 version of arXiv 2504.13181, table 37).
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import EncoderFeatures, pe_spatial_l14_448

from .linear_pe_spatial_g14 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone = L(EncoderFeatures)(
    backbone=L(pe_spatial_l14_448)(weights="PE-Spatial-L14-448"), layers=[23], trainable_blocks=0
)
train.output_dir = "output/ade20k_linear_pe_spatial_l14"
