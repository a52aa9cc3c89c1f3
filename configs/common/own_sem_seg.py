"""Your own images with a class per pixel: set ``data.images``, ``data.masks`` and ``data.classes``.

A fifth of the images, always the same, is held out for evaluation; if you have separate ones, give
``data.val_images`` and ``data.val_masks``.
"""

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    FixedSizeCrop,
    PhotometricDistortion,
    RandomFlip,
    RandomScale,
    ResizeShortestEdge,
    SemSegFolder,
    build_test_loader,
    build_train_loader,
    training_share,
    validation_share,
)
from pe_dense.evaluation import SemSegEvaluator

data = dict(
    images="???",
    masks="???",
    classes="???",  # a file, or the names in order
    val_images="${data.images}",
    val_masks="${data.masks}",
    val_fraction=0.2,
    split_seed=0,
    short_side=512,
    crop_size=512,
)
parts = dict(
    dataset=L(SemSegFolder)(image_root="${data.images}", label_root="${data.masks}", classes="${data.classes}"),
    validation=L(SemSegFolder)(
        image_root="${data.val_images}", label_root="${data.val_masks}", classes="${data.classes}"
    ),
    val_fraction="${data.val_fraction}",
    split_seed="${data.split_seed}",
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(training_share)(**parts),
        transforms=[
            L(ResizeShortestEdge)(short_edge_length="${data.short_side}"),
            L(RandomScale)(min_scale=0.75, max_scale=1.5),
            L(FixedSizeCrop)(size="${data.crop_size}", cat_max_ratio=0.75),
            L(RandomFlip)(),
            L(PhotometricDistortion)(),
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
evaluator = L(SemSegEvaluator)(dataset="${dataloader.test.dataset}")
