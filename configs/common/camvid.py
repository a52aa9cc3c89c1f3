"""CamVid in SegNet's version: 11 classes, 360 x 480. Trains on ``train``, evaluates on ``val``.

Expects train/, trainannot/, val/ and valannot/ below ``data.root`` (or $PE_DENSE_DATASETS/camvid).
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    CamVid,
    FixedSizeCrop,
    PhotometricDistortion,
    RandomFlip,
    RandomScale,
    build_test_loader,
    build_train_loader,
)
from pe_dense.evaluation import SemSegEvaluator

data = dict(
    root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "camvid"), crop_size=[352, 352], num_classes=11
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(CamVid)(root="${data.root}", split="train"),
        transforms=[
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
        dataset=L(CamVid)(root="${data.root}", split="val"), transforms=[], batch_size=1, num_workers=2
    ),
)
evaluator = L(SemSegEvaluator)(dataset="${dataloader.test.dataset}")
