"""NYU Depth v2 as DINOv2 and PE train on it (augmentation of BTS, arXiv 1907.10326; whole images at test time).

Expects sync/, official_splits/test/ and the lists nyudepthv2_{train,test}_files_with_gt.txt (or nyu_{train,test}.txt)
below ``data.root`` (or $PE_DENSE_DATASETS/nyu).
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    Crop,
    FixedSizeCrop,
    GammaJitter,
    NYUDepth,
    RandomFlip,
    RandomRotation,
    build_test_loader,
    build_train_loader,
)
from pe_dense.evaluation import DepthEvaluator

data = dict(root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "nyu"), max_depth=10.0)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(NYUDepth)(root="${data.root}", split="train"),
        transforms=[
            L(Crop)(top=45, left=43, height=427, width=565),  # the frames have a white border
            L(RandomRotation)(degrees=2.5, prob=0.5),
            L(RandomFlip)(),
            L(FixedSizeCrop)(size=[416, 544]),
            L(GammaJitter)(prob=0.5, gamma=[0.9, 1.1], brightness=[0.75, 1.25], color=[0.9, 1.1]),
        ],
        batch_size=16,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(NYUDepth)(root="${data.root}", split="test"), transforms=[], batch_size=1, num_workers=4
    ),
)
evaluator = L(DepthEvaluator)(dataset="${dataloader.test.dataset}", max_depth="${data.max_depth}", crop="eigen_nyu")
