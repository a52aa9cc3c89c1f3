"""DETA on PE-Spatial G, COCO, 1824 px: the released detector, for evaluation and prediction.

Meta published 65.2 box AP, and 66.0 with test-time augmentation. Its training, Objects365 first, is not a recipe here.
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import CocoDataset, ResizeShortestEdge, build_test_loader
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import CocoEvaluator
from pe_dense.modeling.backbone import pe_spatial_g14_448
from projects.deta import DetaPyramid, build_deta

_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # COCO's 80 categories are the others of 1..90

data = dict(root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "coco"), image_size=1824)
dataloader = dict(
    test=L(build_test_loader)(
        dataset=L(CocoDataset)(
            json_file="${data.root}/annotations/instances_val2017.json", image_root="${data.root}/val2017", masks=False
        ),
        transforms=[L(ResizeShortestEdge)(short_edge_length=1792, max_size=1792)],  # 32 less than the square
        batch_size=1,
        num_workers=4,
    ),
)
evaluator = L(CocoEvaluator)(json_file="${data.root}/annotations/instances_val2017.json", tasks=["bbox"])
model = L(build_deta)(
    backbone=L(DetaPyramid)(
        backbone=L(pe_spatial_g14_448)(
            patch_size=16,
            grid_size=24,
            window_size=24,
            global_blocks=[12, 24, 36, 49],
            abs_pos="tile",
            rope="rescaled",
            rope_reference=16,  # a grid of 24 would be right, the weights want this
            mask_padding=False,  # tokens that fill up windows take part
        )
    ),
    num_classes=91,
    class_columns=[i for i in range(1, 91) if i not in _UNUSED_IDS],
    square_size="${data.image_size}",
    pixel_mean=[123.675, 116.28, 103.53],  # ImageNet's, not the encoder's 127.5
    pixel_std=[58.395, 57.12, 57.375],
    trust_args=True,  # the file may have its command line inside
)
train = L(TrainSettings)(output_dir="output/deta_pe_spatial_g14_1824", precision="fp32")
