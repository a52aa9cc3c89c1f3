"""Optimiser, schedule and settings of DINOv2's depth recipes (arXiv 2304.07193, section 7.4; its head configs).

16 images a step (DINOv2: two per GPU; eight GPUs are assumed). The best checkpoint is chosen by delta1, not by AbsRel.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings

optimizer = L(AdamW)(lr=1e-4, betas=[0.9, 0.999], weight_decay=0.01)
lr_schedule = L(CosineSchedule)(warmup_steps=12800, warmup_factor=1e-3, final_factor=1e-8, warmup="product")
train = L(TrainSettings)(
    output_dir="???",
    steps=38400,
    seed=0,
    clip_norm=35.0,
    eval_steps=800,
    checkpoint_steps=800,
    best_metric="depth/delta1",
)
