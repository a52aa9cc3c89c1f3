import pytest
import torch
from torchvision.models.detection._utils import Matcher as TorchvisionMatcher

from pe_dense.modeling.detection import Matcher, matcher


def test_labels_at_the_thresholds():
    iou = torch.tensor([[0.0, 0.29, 0.3, 0.69, 0.7, 1.0]])
    index, labels = Matcher([0.3, 0.7], [0, -1, 1])(iou)
    assert labels.tolist() == [0, 0, -1, -1, 1, 1]
    assert index.tolist() == [0] * 6


def test_low_quality_matches_keep_the_better_object_and_need_overlap():
    iou = torch.tensor([[0.2, 0.2, 0.1], [0.6, 0.0, 0.1], [0.0, 0.0, 0.0]])
    index, labels = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(iou)
    assert labels.tolist() == [1, 1, 0]  # the third object overlaps nothing and so claims nothing
    assert index.tolist()[:2] == [1, 0]  # box 0 is best for object 0, but belongs to object 1


@pytest.mark.parametrize("low_quality", [False, True])
def test_agrees_with_torchvision(low_quality):
    torch.manual_seed(0)
    iou = torch.rand(5, 200) * 0.9
    index, labels = Matcher([0.3, 0.7], [0, -1, 1], low_quality)(iou)
    expected = TorchvisionMatcher(0.7, 0.3, low_quality)(iou)
    assert torch.equal(labels == 1, expected >= 0)
    assert torch.equal(labels == 0, expected == -1)
    assert torch.equal(index[labels == 1], expected[labels == 1])


def test_padding_crowds_and_objects_without_area_match_nothing(monkeypatch):
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 20, 20]])
    objects = boxes.expand(3, 2, 4)
    valid = torch.tensor([[True, True], [False, True], [False, False]])
    monkeypatch.setattr(matcher, "_IOU_ELEMENTS", 8)  # two images at a time
    index, labels = Matcher([0.3, 0.7], [0, -1, 1], True).match_boxes(objects, valid, boxes)
    assert labels.tolist() == [[1, 0], [0, 0], [0, 0]]
    assert index.shape == (3, 2)


def test_setup_errors():
    with pytest.raises(ValueError, match="one label more"):
        Matcher([0.5], [0])
    with pytest.raises(ValueError, match="labels are -1"):
        Matcher([0.5], [0, 2])
