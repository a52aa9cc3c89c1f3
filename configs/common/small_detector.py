"""A small Mask R-CNN for training from random weights on a CPU or one GPU, and its optimiser."""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, CosineSchedule
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import build_mask_rcnn

model = L(build_mask_rcnn)(
    backbone=L(FeaturePyramid)(
        backbone=L(PerceptionEncoder)(
            embed_dim=64,
            depth=2,
            num_heads=2,
            mlp_dim=256,
            patch_size=4,
            grid_size=40,
            layer_scale=0.1,
            window_size=10,
        ),
        out_channels=64,
        levels=["p4", "p5", "p6"],  # strides 4, 8 and 16: patches are 4 pixels wide
    ),
    num_classes="???",
    square_size=None,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
    conv_dim=32,
    fc_dim=256,
    anchor_sizes=[16, 32, 64],
    pre_nms_topk=[250, 250],
    post_nms_topk=[150, 100],
    roi_batch_size_per_image=32,
    test_topk_per_image=50,
)
optimizer = L(AdamW)(lr=1.5e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=50)
