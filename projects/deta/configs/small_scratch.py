"""Train a small DETA from random weights with your own COCO-format data, on a CPU or any GPU.

    python tools/train_net.py --config-file projects/deta/configs/small_scratch.py data.json=J data.images=DIR

A json without masks trains boxes only; with masks ``model.with_masks=false`` does.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import count_classes, has_masks
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.modeling.backbone import PerceptionEncoder, SpatialPriorPyramid
from projects.deta import Selection, build_deta

from ....configs.common.own_data import data, dataloader, evaluator

data.image_size = 256
dataloader.train.batch_size = 4
dataloader.train.transforms[1].min_scale = 0.8  # a wide range of scales pays only in long training
dataloader.train.transforms[1].max_scale = 1.25
model = L(build_deta)(
    backbone=L(SpatialPriorPyramid)(
        backbone=L(PerceptionEncoder)(
            embed_dim=96, depth=3, num_heads=3, mlp_dim=384, patch_size=16, grid_size=16, layer_scale=0.1
        ),
        out_channels=64,
        levels=["p3", "p4", "p5"],
        prior_channels=32,
        prior_stride=4,
    ),
    num_classes=L(count_classes)(json_file="${data.json}"),
    num_queries=100,
    hidden_dim=96,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=2,
    feedforward_dim=256,
    pre_nms_topk=200,
    anchor_size=0.04,
    class_weight=2.0,
    with_masks=L(has_masks)(json_file="${data.json}"),
    square_size="${data.image_size}",  # a test image alone then has the positions of the training
)
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=100)
train = L(TrainSettings)(
    output_dir="output/deta_small", epochs=24, seed=0, clip_norm=3.0, eval_period=6, checkpoint_period=3
)
