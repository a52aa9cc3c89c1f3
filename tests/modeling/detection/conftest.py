"""A small detector and random samples for the tests of this folder."""

import pytest
import torch

from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import build_cascade_mask_rcnn, build_mask_rcnn
from pe_dense.structures import Instances


def tiny_backbone(**options):
    encoder = PerceptionEncoder(32, 2, 2, 64, patch_size=16, grid_size=4, **options)
    return FeaturePyramid(encoder, out_channels=16)


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


def box_masks(boxes, size):
    """Masks that fill boxes with integer corners: N x H x W bool."""
    ys, xs = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
    return (xs > x0) & (xs < x1) & (ys > y0) & (ys < y1)


def make_sample(size, boxes, classes, seed=0, masks=True):
    """A sample whose objects are rectangles of a flat colour on noise."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 60, (3, *size), generator=generator, dtype=torch.uint8)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    found = Instances(size, boxes, classes=torch.tensor(classes, dtype=torch.int64), masks=box_masks(boxes, size))
    for mask, cls in zip(found.masks, classes):
        image[cls][mask] = 250
    if not masks:
        found.masks = None
    return {"image": image, "height": size[0], "width": size[1], "image_id": seed, "instances": found}
