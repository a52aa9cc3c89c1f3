"""DPT on four layers of PE-Spatial B, frozen; NYU, DINOv2's settings. Not trained here.

DINOv2's second loss, on gradients, is left out: as published it is zero at two images per GPU.
"""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.depth import build_dpt_depth

from ..common.depth_schedule import lr_schedule, optimizer, train
from ..common.frozen_spatial_b16 import backbone
from ..common.nyu import data, dataloader, evaluator

backbone.layers = [2, 5, 8, 11]
model = L(build_dpt_depth)(
    backbone=backbone,
    min_depth=1e-3,
    max_depth="${data.max_depth}",
    channels=256,
    flip_test=True,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train.output_dir = "output/nyu_dpt_pe_spatial_b16"
