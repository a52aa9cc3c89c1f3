"""PASCAL VOC 2012 at 512 px, as ADE20K.

Expects JPEGImages/, ImageSets/Segmentation/ and SegmentationClass/ below ``data.root`` (or
$PE_DENSE_DATASETS/VOC2012). For the extra training list: ``data.train_split=train_aug
data.train_labels=SegmentationClassAug``; which one DINOv2 used is not known.
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    VOC2012,
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
    root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "VOC2012"),
    short_side=512,
    crop_size=512,
    num_classes=21,
    train_split="train",
    train_labels="SegmentationClass",
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(VOC2012)(root="${data.root}", split="${data.train_split}", label_folder="${data.train_labels}"),
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
        dataset=L(VOC2012)(root="${data.root}", split="val"), transforms=[], batch_size=1, num_workers=4
    ),
)
evaluator = L(SemSegEvaluator)(dataset="${dataloader.test.dataset}")
