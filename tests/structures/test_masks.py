import numpy as np
import torch
from pycocotools import mask as coco_mask

from pe_dense.structures import RoiMasks, encode_rle, paste_masks


def test_constant_mask_fills_its_box():
    pasted = paste_masks(torch.ones(1, 4, 4), torch.tensor([[2.0, 1.0, 6.0, 5.0]]), (8, 10))[0] >= 0.5
    expected = torch.zeros(8, 10, dtype=torch.bool)
    expected[1:5, 2:6] = True
    assert torch.equal(pasted, expected)


def test_rle_equals_pasting_the_whole_image():
    torch.manual_seed(0)
    corner = torch.rand(40, 2) * torch.tensor([60.0, 40.0]) - 10
    boxes = torch.cat([corner, corner + torch.rand(40, 2) * 40 + 0.3], dim=1)
    masks = RoiMasks(torch.rand(40, 28, 28), boxes, (37, 53))
    bitmasks = masks.bitmasks()
    assert bitmasks.any()
    for rle, expected in zip(masks.rle(), bitmasks):
        assert rle["size"] == [37, 53]
        np.testing.assert_array_equal(coco_mask.decode(rle), expected.numpy())


def test_boxes_outside_or_empty_give_empty_masks():
    boxes = torch.tensor([[-50.0, -50.0, -20.0, -20.0], [5.0, 5.0, 5.0, 5.0]])
    masks = RoiMasks(torch.ones(2, 4, 4), boxes, (10, 10))
    assert not any(coco_mask.decode(r).any() for r in masks.rle())


def test_no_masks():
    masks = RoiMasks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (10, 12))
    assert masks.bitmasks().shape == (0, 10, 12)
    assert masks.rle() == []


def test_repr_is_one_short_line():
    masks = RoiMasks(torch.zeros(3, 28, 28), torch.zeros(3, 4), (480, 640))
    assert repr(masks) == "RoiMasks(3 masks of 28 x 28 in 480 x 640)"


def test_encode_rle_is_json_text():
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    rle = encode_rle(mask)
    assert isinstance(rle["counts"], str)
    np.testing.assert_array_equal(coco_mask.decode(rle), mask)
