import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign, roi_align

from pe_dense.modeling.detection import ROIPooler


def test_levels_by_area():
    pooler = ROIPooler(7)
    sides = torch.tensor([1.0, 111, 113, 223, 225, 449, 5000, 0])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], dim=1)
    assert pooler.assign_levels(boxes).tolist() == [0, 0, 1, 1, 2, 3, 3, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_box_comes_from_its_own_level_with_its_gradient(dtype):
    torch.manual_seed(0)
    features = [torch.randn(2, 3, 512 // s, 512 // s, dtype=dtype, requires_grad=True) for s in (4, 8, 16, 32)]
    boxes = torch.rand(40, 4, dtype=dtype) * 250
    boxes[:, 2:] = boxes[:, :2] + 500 * torch.rand(40, 1, dtype=dtype) ** 2
    image = torch.randint(2, (40,))
    pooler = ROIPooler(7)
    pooled = pooler(features, boxes, image)
    expected = torch.zeros_like(pooled)
    for i, (box, level) in enumerate(zip(boxes, pooler.assign_levels(boxes))):
        roi = torch.cat([image[i : i + 1].to(dtype), box])[None]
        expected[i] = roi_align(features[level], roi, 7, 1 / pooler.strides[level], aligned=True)[0]
    torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=1e-5)
    weight = torch.randn_like(pooled)
    got = torch.autograd.grad((pooled * weight).sum(), features)
    wanted = torch.autograd.grad((expected * weight).sum(), features)
    for a, b in zip(got, wanted):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_same_level_assignment_as_torchvision():
    other = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    features = {str(i): torch.zeros(1, 1, 512 // s, 512 // s) for i, s in enumerate((4, 8, 16, 32))}
    boxes = torch.rand(200, 4) * 100
    boxes[:, 2:] = boxes[:, :2] + torch.rand(200, 2) * 500 + 1
    other(features, [boxes], [(512, 512)])
    assert torch.equal(ROIPooler(7).assign_levels(boxes), other.map_levels([boxes]))


def test_no_boxes_and_empty_boxes():
    features = [torch.randn(1, 3, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    assert ROIPooler(7)(features, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).shape == (0, 3, 7, 7)
    assert not ROIPooler(7)(features, torch.full((1, 4), 9.0), torch.zeros(1, dtype=torch.int64)).any()


def test_strides_must_be_a_pyramid():
    with pytest.raises(ValueError, match=r"\[4, 16\]"):
        ROIPooler(7, [4, 16])
