"""KITTI by Eigen's lists, cut to 352 x 1216 pixels (the KITTI benchmark's crop) in training and testing.

Expects the raw data (or input/), gt_depth/ (or data_depth_annotated/) and kitti_eigen_{train,test}.txt below
``data.root`` (or $PE_DENSE_DATASETS/kitti).
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    FixedSizeCrop,
    GammaJitter,
    KITTIDepth,
    RandomFlip,
    RandomRotation,
    build_test_loader,
    build_train_loader,
)
from pe_dense.evaluation import DepthEvaluator

data = dict(root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "kitti"), max_depth=80.0)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(KITTIDepth)(root="${data.root}", split_file="${data.root}/kitti_eigen_train.txt"),
        transforms=[
            L(RandomRotation)(degrees=2.5, prob=0.5),
            L(RandomFlip)(),
            L(FixedSizeCrop)(size=[352, 704]),
            L(GammaJitter)(prob=0.5, gamma=[0.9, 1.1], brightness=[0.9, 1.1], color=[0.9, 1.1]),
        ],
        batch_size=16,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(KITTIDepth)(root="${data.root}", split_file="${data.root}/kitti_eigen_test.txt"),
        transforms=[],
        batch_size=1,
        num_workers=4,
    ),
)
# Garg's crop of what the KB crop left, rows 143:349 and columns 43:1172 of 352 x 1216, as DINOv2's toolbox takes it.
# BTS takes the same fractions of the whole frame: give the evaluator a data set of its own, with kb_crop=False.
evaluator = L(DepthEvaluator)(dataset="${dataloader.test.dataset}", max_depth="${data.max_depth}", crop="garg")
