"""A small Mask R-CNN for training from random weights on a CPU or one GPU, and its optimiser."""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, CosineSchedule
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import build_mask_rcnn

model = L(build_mask_rcnn)(
    backbone=L(FeaturePyramid)(
        backbone=L(PerceptionEncoder)(
            embed_dim=128,
            depth=4,
            num_heads=4,
            mlp_dim=512,
            patch_size=8,
            grid_size=20,
            rope="index",
        ),
        out_channels=64,
        levels=["p3", "p4", "p5"],
    ),
    num_classes=None,
    square_size=None,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
    conv_dim=64,
    fc_dim=256,
    anchor_sizes=[16, 32, 64],
    pre_nms_topk=[500, 500],
    post_nms_topk=[200, 100],
    roi_batch_size_per_image=64,
)
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=100)
