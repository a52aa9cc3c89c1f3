"""A projection of the demo detector's features for following objects by label propagation, on a CPU or any GPU.

Train the detector first (`make demo`), and make videos to learn from, other ones than those that are evaluated:
`python tools/make_scenes.py --output datasets/scene_videos --train 0 --val 0 --videos 60 --seed 1`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import DAVIS2017, LargeScaleJitter, RandomFlip, VideoFrames, build_clip_loader, build_test_loader
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.evaluation import VideoObjectEvaluator
from pe_dense.modeling.tracking import LearnedTracker, ProjectedFeatures, PropagationLoss, TokenProjection

from ..common.davis_propagation import dino as _propagation
from ..common.small_detector import model as _detector

data = dict(train="datasets/scene_videos/videos/davis", test="datasets/scenes/videos/davis")

dataloader = dict(
    train=L(build_clip_loader)(
        dataset=L(VideoFrames)(videos=L(DAVIS2017)(root="${data.train}", split="val")),
        transforms=[L(RandomFlip)(), L(LargeScaleJitter)(size=192, min_scale=0.8, max_scale=1.25)],
        batch_size=16,
        clip_length=4,
        max_gap=10,
        num_workers=1,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(VideoFrames)(videos=L(DAVIS2017)(root="${data.test}", split="val")),
        transforms=[],
        batch_size=1,
        num_workers=1,
    ),
)
evaluator = L(VideoObjectEvaluator)(dataset="${dataloader.test.dataset.videos}")
_propagation.short_side = 192  # of the scenes
model = L(LearnedTracker)(
    backbone=L(ProjectedFeatures)(
        backbone=_detector.backbone.backbone,
        projection=L(TokenProjection)(dim=64, hidden_dim=256),
        layers=[-1],
    ),
    propagation=_propagation,
    loss=L(PropagationLoss)(temperature=0.1),
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=20)
train = L(TrainSettings)(
    output_dir="output/scenes_vos_projection", epochs=1, seed=0, clip_norm=3.0, eval_period=0, checkpoint_period=1,
    best_metric="vos/J&F", init_from="output/demo",
    init_skip=["backbone.projection.", "backbone.p4.", "backbone.p5.", "proposal_generator.", "roi_heads."],
)  # fmt: skip
