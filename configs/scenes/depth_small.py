"""A small depth estimator from random weights on the embedded scenes, on a CPU or any GPU.

Make them first: `python tools/make_scenes.py`.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import DepthList, GammaJitter, RandomFlip, build_test_loader, build_train_loader
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import DepthEvaluator
from pe_dense.modeling.backbone import EncoderFeatures
from pe_dense.modeling.depth import SigLoss, build_linear_depth

from ..common.small_encoder import encoder, lr_schedule, optimizer

data = dict(root="datasets/scenes", max_depth=15.0)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(DepthList)(images="${data.root}/train", depths="${data.root}/depth_train", scale=1000),
        transforms=[L(RandomFlip)(), L(GammaJitter)()],
        batch_size=8,
        num_workers=1,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(DepthList)(images="${data.root}/val", depths="${data.root}/depth_val", scale=1000),
        transforms=[],
        batch_size=4,
        num_workers=1,
    ),
)
evaluator = L(DepthEvaluator)(dataset="${dataloader.test.dataset}", max_depth="${data.max_depth}")
model = L(build_linear_depth)(
    backbone=L(EncoderFeatures)(backbone=encoder, layers=[0, 1, 2, 3]),
    max_depth="${data.max_depth}",
    bins=64,
    use_cls=False,  # the encoder has none
    losses=dict(loss_sig=L(SigLoss)()),  # without the 100 steps of warm-up of long schedules
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
train = L(TrainSettings)(
    output_dir="output/scenes_depth", epochs=8, seed=0, clip_norm=3.0, eval_period=4, checkpoint_period=4,
    best_metric="depth/delta1",
)  # fmt: skip
