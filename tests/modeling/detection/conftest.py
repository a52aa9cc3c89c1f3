import pytest
import torch

from pe_dense.modeling.detection import build_cascade_mask_rcnn, build_mask_rcnn

from .helpers import tiny_backbone


@pytest.fixture
def tiny():
    """Builder of a small detector: ``tiny(cascade=False, **options)``."""

    def build(cascade=False, **options):
        torch.manual_seed(0)
        sizes = {"square_size": 64, "conv_dim": 16, "fc_dim": 32, "pre_nms_topk": (100, 60), "post_nms_topk": (50, 30)}
        sizes |= {"rpn_batch_size_per_image": 64, "roi_batch_size_per_image": 32}
        make = build_cascade_mask_rcnn if cascade else build_mask_rcnn
        return make(tiny_backbone(), 3, **(sizes | options))

    return build
