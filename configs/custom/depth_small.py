"""Metric depth with your own images and depth maps: a small model from random weights, on a CPU or any GPU.

python tools/train_net.py --config-file configs/custom/depth_small.py data.images=DIR data.depths=DIR
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import TrainSettings
from pe_dense.modeling.backbone import EncoderFeatures
from pe_dense.modeling.depth import build_dpt_depth

from ..common.own_depth import data, dataloader, evaluator
from ..common.small_encoder import encoder, lr_schedule, optimizer

data.short_side = 192
data.crop_size = [192, 256]
model = L(build_dpt_depth)(
    backbone=L(EncoderFeatures)(backbone=encoder, layers=[0, 1, 2, 3]),
    max_depth="${data.max_depth}",
    channels=32,
    widths=[24, 32, 48, 64],
    readout="ignore",  # the encoder has no class token
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train = L(TrainSettings)(
    output_dir="output/custom_depth_small", epochs=20, seed=0, clip_norm=3.0, eval_period=5, checkpoint_period=5,
    best_metric="depth/delta1",
)  # fmt: skip
