import torch
from torchvision.models.detection.roi_heads import RoIHeads

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection.postprocess import select_detections, to_original_size
from pe_dense.structures import Instances, RoiMasks

SIZES = [(50, 60), (40, 80)]


def predictions(per_image=40, num_classes=4):
    torch.manual_seed(0)
    boxes = torch.rand(2 * per_image, 4) * 30
    boxes[:, 2:] += boxes[:, :2] + 5
    logits = torch.randn(2 * per_image, num_classes + 1) * 2
    deltas = torch.randn(2 * per_image, num_classes, 4)
    return boxes, logits, deltas, torch.arange(2).repeat_interleave(per_image)


def test_agrees_with_torchvision():
    boxes, logits, deltas, image = predictions()
    weights = (10.0, 10.0, 5.0, 5.0)
    decoded = BoxCoder(weights).decode(deltas, boxes[:, None])
    probs = logits.softmax(1)[:, :-1]
    ours = select_detections(decoded, probs, image, SIZES, 0.05, 0.5, 20)
    other = RoIHeads(None, None, None, 0.5, 0.5, 512, 0.25, weights, 0.05, 0.5, 20)
    background_first = torch.cat([logits[:, -1:], logits[:, :-1]], dim=1)
    offsets = torch.cat([torch.zeros(len(boxes), 1, 4), deltas], dim=1).flatten(1)
    expected = other.postprocess_detections(background_first, offsets, list(boxes.split(40)), SIZES)
    for found, box, score, label in zip(ours, *expected):
        torch.testing.assert_close(found.boxes, box)
        torch.testing.assert_close(found.scores, score)
        assert torch.equal(found.classes, label - 1)


def test_shared_boxes_limits_and_empty_results():
    boxes, logits, _, image = predictions()
    probs = logits.softmax(1)[:, :-1]
    shared = select_detections(boxes[:, None], probs, image, SIZES, 0.05, 0.5, 7)
    repeated = select_detections(boxes[:, None].expand(-1, 4, 4), probs, image, SIZES, 0.05, 0.5, 7)
    for a, b in zip(shared, repeated):
        assert len(a) == 7
        assert torch.equal(a.boxes, b.boxes)
        assert (a.scores.diff() <= 0).all()
    nothing = select_detections(boxes[:0, None], probs[:0], image[:0], SIZES, 0.05, 0.5, 7)
    assert [len(n) for n in nothing] == [0, 0]
    assert [n.image_size for n in nothing] == SIZES


def test_rows_that_are_not_finite_are_dropped():
    boxes, logits, _, image = predictions()
    probs = logits.softmax(1)[:, :-1]
    boxes[0, 0], probs[1, 2] = float("inf"), float("nan")
    for found in select_detections(boxes[:, None], probs, image, SIZES, 0.0, 0.9, 1000):
        assert found.boxes.isfinite().all()
        assert found.scores.isfinite().all()


def test_original_coordinates():
    boxes = torch.tensor([[10.0, 5, 20, 10], [49, 0, 50.0, 25], [7, 3, 7, 9]])
    masks = RoiMasks(torch.rand(3, 28, 28), boxes, (25, 50))
    seen = Instances((25, 50), boxes, torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.8, 0.7]), masks)
    out = to_original_size(seen, 100, 150)
    assert out.image_size == (100, 150)
    torch.testing.assert_close(out.boxes, torch.tensor([[30.0, 20, 60, 40], [147, 0, 150, 100]]))  # one was empty
    assert out.masks.bitmasks().shape == (2, 100, 150)
    assert torch.equal(out.masks.boxes, out.boxes)
