"""Small inputs shared by the tests of this folder."""

import torch

from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection.regions import Proposals, Targets
from pe_dense.structures import Instances

SIZES = [(60, 64), (64, 40)]  # valid sizes of the two images that pyramid, proposals and truth belong to


def tiny_backbone(**options):
    encoder = PerceptionEncoder(32, 2, 2, 64, patch_size=16, grid_size=4, **options)
    return FeaturePyramid(encoder, out_channels=16)


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


def pyramid():
    generator = torch.Generator().manual_seed(1)
    return {f"p{i}": torch.randn(2, 8, 64 // 2**i, 64 // 2**i, generator=generator) for i in (2, 3, 4, 5)}


def proposals(count=20, used=(20, 5)):
    generator = torch.Generator().manual_seed(2)
    boxes = torch.rand(2, count, 4, generator=generator) * 20
    boxes[..., 2:] += boxes[..., :2] + 5
    valid = torch.arange(count) < torch.tensor(used)[:, None]
    return Proposals(boxes * valid[..., None], torch.zeros(2, count), valid)


def truth(masks=False, crowd=None):
    boxes = torch.tensor([[5.0, 5, 30, 40], [20, 10, 60, 50]])
    bitmaps = torch.rand(2, *SIZES[0]) > 0.5 if masks else None
    first = Instances(SIZES[0], boxes, classes=torch.tensor([2, 0]), masks=bitmaps, crowd=crowd)
    none = torch.zeros(0, *SIZES[1], dtype=torch.bool) if masks else None
    second = Instances(SIZES[1], torch.zeros(0, 4), classes=torch.zeros(0).long(), masks=none)
    return Targets.from_instances([first, second], with_masks=masks)
