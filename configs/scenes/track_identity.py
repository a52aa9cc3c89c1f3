"""An identity head on the demo's detector, which stays as it is: the embedded videos, on a CPU or any GPU.

Train the detector first (`make demo`), and make videos to learn from, other ones than those that are evaluated:
`python tools/make_scenes.py --output datasets/scene_videos --train 0 --val 0 --videos 60 --seed 1`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    LargeScaleJitter,
    MotFrames,
    RandomFlip,
    ResizeShortestEdge,
    build_pair_loader,
    build_test_loader,
    class_names,
)
from pe_dense.engine import AdamW, CosineSchedule, TrainSettings
from pe_dense.evaluation import MotEvaluator
from pe_dense.modeling.detection import build_tracking_rcnn
from pe_dense.modeling.tracking.association import BoTSORT, Tracker

from ..demo.mask_rcnn_scenes import model as detector

data = dict(
    root="datasets/scenes",
    train="datasets/scene_videos/videos/mot",
    test="${data.root}/videos/mot",
    classes=L(class_names)(json_file="${data.root}/annotations/instances_train.json"),
)

dataloader = dict(
    train=L(build_pair_loader)(
        dataset=L(MotFrames)(root="${data.train}", classes="${data.classes}", min_visibility=0.2),
        transforms=[L(RandomFlip)(), L(LargeScaleJitter)(size=160, min_scale=0.8, max_scale=1.25)],
        batch_size=8,
        max_gap=12,
        num_workers=1,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(MotFrames)(root="${data.test}", classes="${data.classes}"),
        transforms=[L(ResizeShortestEdge)(short_edge_length=160, max_size=160)],
        batch_size=4,
        num_workers=1,
    ),
)
evaluator = L(MotEvaluator)(
    dataset="${dataloader.test.dataset}",
    tracker=L(Tracker)(
        # the demo's scores are low and its classes doubtful; buffer: 30 frames at 12 frames per second
        settings=L(BoTSORT)(high=0.35, new=0.45, buffer=75, reidentify=0.1),
        class_aware=False,
    ),
)
model = L(build_tracking_rcnn)(
    detector=detector,
    freeze_detector=True,
    embed_dim=64,
    num_convs=2,
    conv_dim=64,
    fc_dim=256,
    regions_per_image=64,
)
optimizer = L(AdamW)(lr=1e-3, weight_decay=0.05)
lr_schedule = L(CosineSchedule)(warmup_steps=20)
train = L(TrainSettings)(
    output_dir="output/track_identity", epochs=1, seed=0, clip_norm=3.0, eval_period=0, checkpoint_period=0,
    best_metric="mot/IDF1", init_from="output/demo", init_skip=["identity_head."],
)  # fmt: skip
