import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchors
from torchvision.models.detection.image_list import ImageList

from pe_dense.modeling.detection import AnchorGenerator


def test_anchors_by_hand():
    [first, second] = AnchorGenerator([[4], [8]], [1.0, 4.0], [2, 4])([(1, 2), (1, 1)], "cpu")
    expected = [[-2, -2, 2, 2], [-1, -4, 1, 4], [0, -2, 4, 2], [1, -4, 3, 4]]  # second column is 2 px to the right
    assert first.tolist() == expected
    assert second.tolist() == [[-4, -4, 4, 4], [-2, -8, 2, 8]]


def test_offset_shifts_by_part_of_the_stride():
    [level] = AnchorGenerator([[4]], [1.0], [8], offset=0.5)([(1, 1)], "cpu")
    assert level.tolist() == [[2, 2, 6, 6]]


def test_agrees_with_torchvision_up_to_its_rounding():
    shapes = [(6, 8), (3, 4)]
    ours = AnchorGenerator([[32], [64]], [0.5, 1.0, 2.0], [4, 8])(shapes, "cpu")
    other = TorchvisionAnchors(((32,), (64,)), ((0.5, 1.0, 2.0),) * 2)
    images = ImageList(torch.zeros(1, 3, 24, 32), [(24, 32)])
    [expected] = other(images, [torch.zeros(1, 1, *s) for s in shapes])
    assert (torch.cat(ours) - expected).abs().max() <= 0.5  # torchvision rounds the corners to pixels


def test_cache_is_reused_bounded_and_usable_after_inference_mode():
    anchors = AnchorGenerator([[4]], [1.0], [2])
    with torch.inference_mode():
        first = anchors([(2, 2)], "cpu")
    assert anchors([(2, 2)], "cpu") is first
    assert not first[0].is_inference()
    for size in range(1, 30):
        anchors([(size, size)], "cpu")
    assert len(anchors._cache) <= 8


def test_setup_errors():
    with pytest.raises(ValueError, match="2 levels but strides for 1"):
        AnchorGenerator([[4], [8]], [1.0], [2])
    with pytest.raises(ValueError, match="same number of anchor sizes"):
        AnchorGenerator([[4], [8, 9]], [1.0], [2, 4])
    with pytest.raises(ValueError, match="1 levels but got 2 feature maps"):
        AnchorGenerator([[4]], [1.0], [2])([(1, 1), (2, 2)], "cpu")
