"""Linear depth head on the last layer of PE-Spatial B, frozen; NYU, DINOv2's settings. Not trained here."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.depth import build_linear_depth

from ..common.depth_schedule import lr_schedule, optimizer, train
from ..common.frozen_spatial_b16 import backbone
from ..common.nyu import data, dataloader, evaluator

model = L(build_linear_depth)(
    backbone=backbone,
    min_depth=1e-3,
    max_depth="${data.max_depth}",
    bins=256,
    use_cls=True,
    upsample=4,
    flip_test=True,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train.output_dir = "output/nyu_linear1_pe_spatial_b16"
