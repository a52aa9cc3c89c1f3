"""Optimiser, schedule and settings of DINOv2's linear segmentation recipes (arXiv 2304.07193, section 7.4)."""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, PolySchedule, TrainSettings

optimizer = L(AdamW)(lr=1e-3, betas=[0.9, 0.999], weight_decay=1e-4)
lr_schedule = L(PolySchedule)(power=1.0, warmup_steps=1500, warmup_factor=1e-6)
train = L(TrainSettings)(
    output_dir="???",
    steps=40000,
    seed=0,
    eval_steps=5000,
    checkpoint_steps=5000,
    best_metric="sem_seg/mIoU",
)
