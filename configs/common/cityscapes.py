"""Cityscapes' 19 classes. Crops are squares of 768 px from images of 1024 x 2048; DINOv2's own settings are not known.

Expects leftImg8bit/ and gtFine/ below ``data.root`` (or $PE_DENSE_DATASETS/cityscapes).
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    Cityscapes,
    FixedSizeCrop,
    PhotometricDistortion,
    RandomFlip,
    RandomScale,
    ResizeShortestEdge,
    build_test_loader,
    build_train_loader,
)
from pe_dense.evaluation import SemSegEvaluator

data = dict(
    root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "cityscapes"),
    short_side=1024,
    crop_size=768,
    num_classes=19,
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(Cityscapes)(root="${data.root}", split="train"),
        transforms=[
            L(ResizeShortestEdge)(short_edge_length="${data.short_side}", max_size=2048),
            L(RandomScale)(min_scale=0.5, max_scale=2.0),
            L(FixedSizeCrop)(size="${data.crop_size}", cat_max_ratio=0.75),
            L(RandomFlip)(),
            L(PhotometricDistortion)(),
        ],
        batch_size=16,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(Cityscapes)(root="${data.root}", split="val"), transforms=[], batch_size=1, num_workers=4
    ),
)
evaluator = L(SemSegEvaluator)(dataset="${dataloader.test.dataset}")
