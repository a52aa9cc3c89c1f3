"""A small encoder for dense models that train from random weights on a CPU or one GPU, and their optimiser."""

from pe_dense.config import LazyCall as L
from pe_dense.engine import AdamW, CosineSchedule
from pe_dense.modeling.backbone import PerceptionEncoder

encoder = L(PerceptionEncoder)(
    embed_dim=96, depth=4, num_heads=3, mlp_dim=384, patch_size=8, grid_size=24, layer_scale=0.1
)
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=50)
