"""A projection of frozen tokens trained on DAVIS 2017's training videos, and evaluated on its validation videos; DINO's
protocol. A recipe names the encoder and the widths of the projection.

16 frames a step: 4 clips of 4. Not a published recipe, and not run on DAVIS yet: the numbers are those of
`configs/scenes/vos_projection.py` where they could be taken over.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import DAVIS2017, LargeScaleJitter, RandomFlip, VideoFrames, build_clip_loader, build_test_loader
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.evaluation import VideoObjectEvaluator
from pe_dense.modeling.tracking import LearnedTracker, ProjectedFeatures, PropagationLoss, TokenProjection

from .davis_propagation import dino as _propagation

data = dict(root="datasets/DAVIS")

dataloader = dict(
    train=L(build_clip_loader)(
        dataset=L(VideoFrames)(videos=L(DAVIS2017)(root="${data.root}", split="train")),
        transforms=[L(RandomFlip)(), L(LargeScaleJitter)(size=[480, 848], min_scale=0.8, max_scale=1.25)],
        batch_size=16,
        clip_length=4,
        max_gap=10,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(VideoFrames)(videos=L(DAVIS2017)(root="${data.root}", split="val")),
        transforms=[],
        batch_size=1,
        num_workers=2,
    ),
)
evaluator = L(VideoObjectEvaluator)(dataset="${dataloader.test.dataset.videos}")
model = L(LearnedTracker)(
    backbone=L(ProjectedFeatures)(
        backbone="???",
        projection=L(TokenProjection)(dim="???", hidden_dim="???"),
        layers=[-1],
        norm=False,
    ),
    propagation=_propagation,
    loss=L(PropagationLoss)(temperature=0.1),
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=50)
train = L(TrainSettings)(
    output_dir="???", epochs=4, seed=0, clip_norm=3.0, eval_period=0, checkpoint_period=1, best_metric="vos/J&F"
)
