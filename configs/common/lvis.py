"""LVIS v1 at 1024 px with large-scale jitter and repeat factors, the data of ViTDet's and PE's LVIS detectors.

Expects lvis_v1_train.json and lvis_v1_val.json in ``data.root`` (or $PE_DENSE_DATASETS/lvis), and COCO's train2017/ and
val2017/ in ``data.images`` (or $PE_DENSE_DATASETS/coco): validation images of LVIS lie in both.
"""

import os

from omegaconf import DictConfig

from pe_dense.config import LazyCall as L
from pe_dense.data import class_image_counts
from pe_dense.evaluation import LvisEvaluator
from pe_dense.modeling.detection import FederatedLoss

from .coco import dataloader

_datasets = os.environ.get("PE_DENSE_DATASETS", "datasets")
data = dict(root=os.path.join(_datasets, "lvis"), images=os.path.join(_datasets, "coco"), image_size=1024)

for part in ("train", "test"):
    dataloader[part].dataset.image_root = "${data.images}"
dataloader.train.dataset.json_file = "${data.root}/lvis_v1_train.json"
dataloader.train.repeat_threshold = 0.001
dataloader.test.dataset.json_file = "${data.root}/lvis_v1_val.json"
evaluator = L(LvisEvaluator)(json_file="${dataloader.test.dataset.json_file}")


def set_lvis_head(model: DictConfig) -> None:
    """Give a Mask R-CNN of COCO the classes, the federated loss and the test settings of LVIS."""
    model.num_classes = 1203
    model.class_loss = L(FederatedLoss)(
        num_classes="${model.num_classes}",
        image_counts=L(class_image_counts)(json_file="${dataloader.train.dataset.json_file}"),
    )
    model.test_score_thresh = 0.02
    model.test_topk_per_image = 300
