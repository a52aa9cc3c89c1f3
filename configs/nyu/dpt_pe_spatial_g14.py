"""PE's own probe: DPT on the one layer of PE-Spatial G that is best for depth, frozen; NYU. Not trained here.

Published: RMSE 0.262 at layer 46 of 50, counted from 1, and 0.275 at the last (arXiv 2504.13181, table 13). What is
deduced is said in dpt_pe_core_g14.py.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import EncoderFeatures, pe_spatial_g14_448

from .dpt_pe_core_g14 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone = L(EncoderFeatures)(
    backbone=L(pe_spatial_g14_448)(weights="PE-Spatial-G14-448"), layers=[45], trainable_blocks=0
)
train.output_dir = "output/nyu_dpt_pe_spatial_g14"
