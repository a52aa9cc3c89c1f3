"""COCO 2017 at 1024 px with large-scale jitter, the data of ViTDet's and PE's detectors.

Expects annotations/, train2017/ and val2017/ below ``data.root`` (or $PE_DENSE_DATASETS/coco).
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import (
    CocoDataset,
    LargeScaleJitter,
    RandomFlip,
    ResizeShortestEdge,
    build_test_loader,
    build_train_loader,
)
from pe_dense.evaluation import CocoEvaluator

data = dict(root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "coco"), image_size=1024)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(CocoDataset)(
            json_file="${data.root}/annotations/instances_train2017.json",
            image_root="${data.root}/train2017",
            skip_empty=True,
        ),
        transforms=[
            L(RandomFlip)(),
            L(LargeScaleJitter)(size="${data.image_size}", min_scale=0.1, max_scale=2.0),
        ],
        batch_size=64,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_test_loader)(
        dataset=L(CocoDataset)(
            json_file="${data.root}/annotations/instances_val2017.json", image_root="${data.root}/val2017"
        ),
        transforms=[L(ResizeShortestEdge)(short_edge_length="${data.image_size}", max_size="${data.image_size}")],
        batch_size=1,
        num_workers=4,
    ),
)
evaluator = L(CocoEvaluator)(json_file="${data.root}/annotations/instances_val2017.json")
