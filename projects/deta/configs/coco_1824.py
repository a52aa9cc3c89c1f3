"""DETA on PE-Spatial G, COCO, 1824 px: the released detector, for evaluation and prediction.

Meta published 65.2 box AP, and 66.0 with test-time augmentation. Its training: released/pe_spatial_g14_4_coco_1824.py,
whose data come from the clone's ``configs``; this file stands alone, for what is installed.
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import CocoDataset, build_test_loader
from pe_dense.engine import TrainSettings
from pe_dense.evaluation import CocoEvaluator

from .common.g14 import model
from .common.released import choices, resize

data = dict(root=os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "coco"), image_size=1824)
dataloader = dict(
    test=L(build_test_loader)(
        dataset=L(CocoDataset)(
            json_file="${data.root}/annotations/instances_val2017.json", image_root="${data.root}/val2017", masks=False
        ),
        transforms=resize(1824),
        batch_size=1,
        num_workers=4,
    ),
)
evaluator = L(CocoEvaluator)(json_file="${data.root}/annotations/instances_val2017.json", tasks=["bbox"])
model.backbone.backbone.drop_path_rate = 0.0
model.num_classes = "${choices.coco.num_classes}"
model.class_columns = "${choices.coco.class_columns}"
model.trust_args = True  # the file may have its command line inside
train = L(TrainSettings)(output_dir="output/deta_pe_spatial_g14_1824", precision="fp32")
