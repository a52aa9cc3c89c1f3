import pytest
import torch

from pe_dense.modeling.detection.regions import Targets, clip_boxes, grouped_nms, image_bounds, nonempty
from pe_dense.structures import Instances


def objects(count, **fields):
    boxes = torch.arange(count * 4.0).view(count, 4)
    return Instances((9, 9), boxes, classes=torch.arange(count) + 1, **fields)


def test_padding_and_crowds():
    targets = Targets.from_instances([objects(2, crowd=torch.tensor([True, False])), objects(0), objects(3)])
    assert targets.valid.tolist() == [[False, True, False], [False] * 3, [True] * 3]
    assert targets.boxes.shape == (3, 3, 4)
    assert targets.classes.tolist() == [[1, 2, 0], [0, 0, 0], [1, 2, 3]]
    assert targets.masks is None


def test_a_batch_without_objects_keeps_one_slot():
    targets = Targets.from_instances([objects(0), objects(0)])
    assert targets.boxes.shape == (2, 1, 4)
    assert targets.classes.dtype == torch.int64
    assert not targets.valid.any()


def test_missing_fields():
    with pytest.raises(ValueError, match="no classes"):
        Targets.from_instances([Instances((9, 9), torch.zeros(1, 4))])
    with pytest.raises(ValueError, match="with_masks=false"):
        Targets.from_instances([objects(1)], with_masks=True)


def test_clip_and_nonempty():
    boxes = torch.tensor([[[-1.0, 2, 30, 8], [12, 1, 20, 3]], [[0, 0, 5, 5], [0, float("nan"), 5, 5]]])
    bounds = image_bounds([(6, 10), (4, 4)], boxes.device)
    clipped = clip_boxes(boxes, bounds)
    assert clipped[0].tolist() == [[0, 2, 10, 6], [10, 1, 10, 3]]
    assert nonempty(clipped).tolist() == [[True, False], [True, False]]


def test_nms_does_not_depend_on_the_number_of_groups():
    torch.manual_seed(0)
    boxes = torch.rand(200, 4) * 500
    boxes[:, 2:] = boxes[:, :2] + 300 + torch.rand(200, 2) * 50
    scores = torch.rand(200)
    alone = grouped_nms(boxes, scores, torch.zeros(200, dtype=torch.int64), 0.5)
    far = grouped_nms(boxes, scores, torch.full((200,), 100_000), 0.5)
    assert torch.equal(alone, far)
