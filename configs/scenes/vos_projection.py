"""A projection of the demo detector's features for following objects by label propagation, on a CPU or any GPU.

Train the detector first (`make demo`), and make videos to learn from, other ones than those that are evaluated:
`python tools/make_scenes.py --output datasets/scene_videos --train 0 --val 0 --videos 60 --seed 1`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.engine import TrainSettings

from ..common.davis_projection import dataloader, evaluator, lr_schedule, model, optimizer
from ..common.small_detector import model as _detector

data = dict(train="datasets/scene_videos/videos/davis", test="datasets/scenes/videos/davis")

dataloader.train.num_workers = dataloader.test.num_workers = 1
dataloader.train.dataset.videos.split = "val"  # the only one that the scenes have
dataloader.train.dataset.videos.root = "${data.train}"
dataloader.test.dataset.videos.root = "${data.test}"
dataloader.train.transforms[1].size = 192
model.backbone.backbone = _detector.backbone.backbone
model.backbone.projection.dim, model.backbone.projection.hidden_dim = 64, 256
model.propagation.short_side = 192  # of the scenes
lr_schedule.warmup_steps = 20
train = L(TrainSettings)(
    output_dir="output/scenes_vos_projection", epochs=1, seed=0, clip_norm=3.0, eval_period=0, checkpoint_period=1,
    best_metric="vos/J&F", init_from="output/demo",
    init_skip=["backbone.projection.", "backbone.p4.", "backbone.p5.", "proposal_generator.", "roi_heads."],
)  # fmt: skip
