"""ADE20K's 150 classes at 512 px: the pipeline of the segmentation recipes (mmsegmentation's, as DINOv2 uses it).

Expects images/ and annotations/ of ADEChallengeData2016 below ``data.root`` (or $PE_DENSE_DATASETS/ade20k).
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    ADE20K,
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
    root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "ade20k"),
    short_side=512,
    crop_size=512,
    num_classes=150,
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(ADE20K)(root="${data.root}", split="train"),
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
        dataset=L(ADE20K)(root="${data.root}", split="val"), transforms=[], batch_size=1, num_workers=4
    ),
)
evaluator = L(SemSegEvaluator)(dataset="${dataloader.test.dataset}")
