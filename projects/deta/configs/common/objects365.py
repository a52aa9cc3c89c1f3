"""Objects365 v2 with large-scale jitter.

Expects annotations/, train/ and val/ below ``data.root`` (or $PE_DENSE_DATASETS/objects365).
"""

import os

from pe_dense.config import LazyCall as L
from pe_dense.data import Objects365

from .coco import data, dataloader, evaluator

data.root = os.path.join(os.environ.get("PE_DENSE_DATASETS", "datasets"), "objects365")
dataloader.train.dataset = L(Objects365)(
    json_file="${data.root}/annotations/zhiyuan_objv2_train.json", image_root="${data.root}/train"
)
dataloader.test.dataset = L(Objects365)(
    json_file="${data.root}/annotations/zhiyuan_objv2_val.json", image_root="${data.root}/val"
)
evaluator.json_file = "${data.root}/annotations/zhiyuan_objv2_val.json"
