"""Label propagation for DAVIS 2017 by the two published protocols; all numbers written out."""

from pe_dense.config import LazyCall as L
from pe_dense.modeling.tracking import LabelPropagation

# DINO's evaluation script, which PE's tracking results follow
dino = L(LabelPropagation)(
    short_side=480,
    long_multiple=64,
    round_up=False,
    interpolation="linear",
    queue=7,
    radius=12,
    neighborhood="square",
    topk=5,
    ties=True,
    temperature=0.1,
    renormalize=False,
    argmax="input",
    min_score=0.0,
)
# DINOv3's, at its medium size; the small and the large one have a short side of 480 and 1440
dinov3 = L(LabelPropagation)(
    short_side=960,
    long_multiple=0,
    round_up=True,
    interpolation="bicubic",
    queue=7,
    radius=12,
    neighborhood="circle",
    topk=5,
    ties=False,
    temperature=0.2,
    renormalize=True,
    argmax="frame",
    min_score=0.0,
)
