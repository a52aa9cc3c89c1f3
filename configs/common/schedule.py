"""Optimiser, schedule and settings that the COCO recipes start from (ViTDet, arXiv 2203.16527, appendix A.2)."""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, MultiStepSchedule, TrainSettings

optimizer = L(AdamW)(lr=1e-4, betas=[0.9, 0.999], weight_decay=0.1, layer_decay=0.8)
lr_schedule = L(MultiStepSchedule)(milestones=[32, 35], gamma=0.1, unit="epochs", warmup_steps=250, warmup_factor=0.001)
train = L(TrainSettings)(
    output_dir="???",
    epochs=36,
    seed=0,
    precision="bf16",
    accumulate=1,
    clip_norm=1.0,
    ema_decay=None,
    eval_period=3,
    checkpoint_period=1,
    keep_last=2,
    log_period=20,
)
