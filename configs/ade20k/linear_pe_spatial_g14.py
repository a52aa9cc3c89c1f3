"""PE's own probe: batch norm and a linear layer on one layer of PE-Spatial G, frozen; ADE20K. Not trained here.

Published: mIoU 49.3 at layer 49 of 50, counted from 1 (arXiv 2504.13181, table 13), the best one. Iterations and
stride are not published: they are DINOv2's here. Crops have 518 px, a multiple of the patch size.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import EncoderFeatures, pe_spatial_g14_448

from .linear_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

data.short_side = 518
data.crop_size = 518
model.backbone = L(EncoderFeatures)(
    backbone=L(pe_spatial_g14_448)(weights="PE-Spatial-G14-448"), layers=[48], trainable_blocks=0
)
model.inference.stride = 345
train.output_dir = "output/ade20k_linear_pe_spatial_g14"
