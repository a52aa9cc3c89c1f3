"""What the recipes for one GPU share: COCO at 1024 px, 16 images a step, worked off in parts. Not trained here.

Batch, rate, weight decay and clipping are DETR's, the layer-wise decay is ViTDet's.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, MultiStepSchedule, TrainSettings
from projects.deta import DetaPyramid, build_deta

from .coco import data, dataloader, evaluator

dataloader.train.batch_size = 16
model = L(build_deta)(
    backbone=L(DetaPyramid)(backbone="???"),  # the encoder of the COCO recipe of its size, with recomputed blocks
    num_classes=80,
    square_size="${data.image_size}",
    checkpoint_layers=True,
)
optimizer = L(AdamW)(lr=1e-4, weight_decay=1e-4, layer_decay=0.7, lr_multipliers={"*.sampling_offsets.*": 0.1})
lr_schedule = L(MultiStepSchedule)(milestones=[10], gamma=0.1, unit="epochs", warmup_steps=250)
train = L(TrainSettings)(
    output_dir="???",
    epochs=12,
    seed=0,
    precision="bf16",
    accumulate=8,
    clip_norm=0.1,
    ema_decay=None,
    eval_period=1,
    checkpoint_period=1,
)
