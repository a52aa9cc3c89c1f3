"""Your own images with depth maps: set ``data.images``, and ``data.depths`` unless ``data.images`` is a list.

A fifth of the images, always the same, is held out for evaluation; if you have separate ones, give
``data.val_images`` and ``data.val_depths``.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    DepthList,
    FixedSizeCrop,
    GammaJitter,
    RandomFlip,
    ResizeShortestEdge,
    build_test_loader,
    build_train_loader,
    training_share,
    validation_share,
)
from pe_dense.evaluation import DepthEvaluator

data = dict(
    images="???",
    depths=None,
    scale=None,  # stored units per metre: 1000 for files of integers and 1 for files of floats if not given
    val_images="${data.images}",
    val_depths="${data.depths}",
    val_fraction=0.2,
    split_seed=0,
    short_side=480,
    crop_size=[416, 544],
    max_depth=10.0,
)
parts = dict(
    dataset=L(DepthList)(images="${data.images}", depths="${data.depths}", scale="${data.scale}"),
    validation=L(DepthList)(images="${data.val_images}", depths="${data.val_depths}", scale="${data.scale}"),
    val_fraction="${data.val_fraction}",
    split_seed="${data.split_seed}",
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(training_share)(**parts),
        transforms=[
            L(ResizeShortestEdge)(short_edge_length="${data.short_side}"),
            L(RandomFlip)(),
            L(FixedSizeCrop)(size="${data.crop_size}"),
            L(GammaJitter)(),
        ],
        batch_size=8,
        num_workers=2,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(validation_share)(**parts),
        transforms=[L(ResizeShortestEdge)(short_edge_length="${data.short_side}")],
        batch_size=1,
        num_workers=2,
    ),
)
evaluator = L(DepthEvaluator)(dataset="${dataloader.test.dataset}", max_depth="${data.max_depth}")
