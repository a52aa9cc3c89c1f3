import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder as TorchvisionBoxCoder

from pe_dense.layers.box_coder import BoxCoder


def test_offsets_by_hand():
    reference = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    target = torch.tensor([[5.0, 10.0, 25.0, 20.0]])  # centre (15, 15), size 20 x 10; reference (5, 10), 10 x 20
    expected = torch.tensor([[1.0, 0.25, math.log(2), math.log(0.5)]])
    torch.testing.assert_close(BoxCoder().encode(reference, target), expected)
    torch.testing.assert_close(
        BoxCoder((10, 10, 5, 5)).encode(reference, target), expected * torch.tensor([10.0, 10, 5, 5])
    )


def test_decode_inverts_encode_and_agrees_with_torchvision():
    torch.manual_seed(0)
    boxes = torch.rand(2, 50, 4) * 100
    boxes[..., 2:] += boxes[..., :2] + 5
    reference, target = boxes
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = BoxCoder(weights).encode(reference, target)
    torch.testing.assert_close(BoxCoder(weights).decode(deltas, reference), target, atol=1e-3, rtol=0)
    other = TorchvisionBoxCoder(weights)
    torch.testing.assert_close(deltas, other.encode_single(target, reference))
    per_class = deltas[:, None] + torch.randn(50, 3, 4)
    expected = other.decode_single(per_class.flatten(1), reference).view(50, 3, 4)
    torch.testing.assert_close(BoxCoder(weights).decode(per_class, reference[:, None]), expected)


def test_growth_is_limited_and_half_precision_is_decoded_in_float32():
    coder = BoxCoder()
    reference = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    huge = coder.decode(torch.tensor([[0.0, 0.0, 1e4, 1e4]], dtype=torch.bfloat16), reference)
    assert huge.dtype == torch.float32
    torch.testing.assert_close(huge, torch.tensor([[-492.0, -492.0, 508.0, 508.0]]))


def test_wrong_number_of_weights():
    with pytest.raises(ValueError, match="4 values"):
        BoxCoder((1.0, 2.0))
