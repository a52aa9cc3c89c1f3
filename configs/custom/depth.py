"""Metric depth with your own images and depth maps: DPT on PE-Spatial B, frozen.

    python tools/train_net.py --config-file configs/custom/depth.py data.images=DIR data.depths=DIR

A list (``data.images=pairs.csv``) names both; see docs/own_data.md. The weights come from the Hugging Face hub; with
a local file set ``model.backbone.backbone.weights=FILE``. ``model.backbone.trainable_blocks=null`` trains the encoder
too.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.modeling.depth import build_dpt_depth

from ..common.frozen_spatial_b16 import backbone
from ..common.own_depth import data, dataloader, evaluator

backbone.layers = [2, 5, 8, 11]
model = L(build_dpt_depth)(
    backbone=backbone,
    max_depth="${data.max_depth}",
    flip_test=True,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer = L(AdamW)(lr=1e-4, weight_decay=0.01)
lr_schedule = L(CosineSchedule)(warmup_steps=250)
train = L(TrainSettings)(
    output_dir="output/custom_depth", epochs=20, seed=0, precision="bf16", clip_norm=35.0, eval_period=2,
    checkpoint_period=1, best_metric="depth/delta1",
)  # fmt: skip
