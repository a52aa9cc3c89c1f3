"""PE's own probe: DPT on the one layer of PE-Core G that is best for depth, frozen; NYU, 20 epochs. Not trained here.

Published: RMSE 0.249 at layer 39 of 50, counted from 1 (arXiv 2504.13181, table 13). Its appendix B.3.3 says
"DINOv2's set-up", a head as wide as the encoder asks for and 20 epochs; that all four inputs come from the one layer
is deduced.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.backbone import EncoderFeatures, pe_core_g14_448

from .dpt_pe_spatial_b16 import data, dataloader, evaluator, lr_schedule, model, optimizer, train

model.backbone = L(EncoderFeatures)(
    backbone=L(pe_core_g14_448)(weights="PE-Core-G14-448", pool=False), layers=[38], trainable_blocks=0
)
model.channels = None  # grows with the encoder
model.readout = "ignore"  # the tower has no class token
train.steps = None
train.epochs = 20
train.output_dir = "output/nyu_dpt_pe_core_g14"
