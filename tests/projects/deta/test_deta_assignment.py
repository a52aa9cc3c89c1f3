import pytest
import torch
from torchvision.ops import box_convert, box_iou

from pe_dense.modeling.detection import Matcher
from projects.deta.assignment import HungarianAssigner, OverlapAssigner, make_objects
from projects.deta.losses import box_losses, class_loss, class_targets
from projects.deta.predictions import Predictions

BOUNDS = torch.tensor([[100.0, 80, 100, 80], [60, 60, 60, 60], [50, 90, 50, 90]])


def make_case(layers=2, queries=40, classes=6, seed=0):
    """Three images with three, one and no objects."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.tensor([[[10.0, 10, 50, 60], [20, 15, 60, 70], [70, 5, 90, 40]]]).repeat(3, 1, 1) * 0.6
    valid = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    objects = make_objects(boxes, torch.tensor([[4, 0, 5]]).repeat(3, 1), valid, BOUNDS)
    noise = torch.randn(layers + 1, 3, queries, 4, generator=generator) * 0.05
    near = objects.boxes.repeat(1, -(-queries // 3), 1)[:, :queries]
    around = (near + noise).clamp(0.02, 0.98)
    logits = torch.randn(layers, 3, queries, classes, generator=generator)
    return Predictions(logits, around[:-1], around[-1]), objects


def one_by_one(assigner, predictions, objects, image):
    """DETA's assignment written down for a single image."""
    truth = box_convert(objects.boxes[image][objects.valid[image]], "cxcywh", "xyxy")
    if not len(truth):
        return set()
    iou = box_iou(truth, box_convert(predictions.reference[image], "cxcywh", "xyxy"))
    matched, labels = assigner.matcher(iou)
    found = set()
    for g in range(len(truth)):
        count = min(int(((matched == g) & (labels == 1)).sum()), assigner.max_per_object)
        found |= {(g, int(q)) for q in iou[g].topk(count).indices}
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_overlaps_of_a_batch_are_those_of_each_image(seed):
    predictions, objects = make_case(seed=seed)
    assigner = OverlapAssigner(Matcher([0.6], [0, 1], allow_low_quality_matches=True), 1000, 1.0)
    assignment = assigner(predictions, objects)
    sizes = []
    for image in range(3):
        rows = assignment.valid[0, image].nonzero().tolist()
        found = {(g, int(assignment.index[0, image, g, k])) for g, k in rows}
        assert found == one_by_one(assigner, predictions, objects, image)
        sizes.append(len(found))
    assert sizes[0] > 3 >= 1 <= sizes[1]
    assert sizes[2] == 0


def test_few_samples_leave_fewer_predictions():
    predictions, objects = make_case()
    many = OverlapAssigner(Matcher([0.3], [0, 1]), 1000, 1.0)(predictions, objects)
    few = OverlapAssigner(Matcher([0.3], [0, 1]), 8, 0.25)(predictions, objects)
    assert few.valid[0, 0].sum() <= 2 < many.valid[0, 0].sum()


def test_losses_are_those_of_each_pair():
    predictions, objects = make_case()
    assignment = OverlapAssigner.second_stage(1000)(predictions, objects)
    targets = class_targets(assignment, objects.classes, predictions.logits)
    assert torch.equal(targets[0], targets[1])
    distance = 0.0
    expected = torch.zeros_like(targets[0])
    for _, image, g, k in assignment.valid.nonzero().tolist():
        q = assignment.index[0, image, g, k]
        distance += float((predictions.boxes[1, image, q] - objects.boxes[image, g]).abs().sum())
        expected[image, q] = 0.0
        expected[image, q, objects.classes[image, g]] = 1.0
    assert torch.equal(targets[0], expected)
    box, giou = box_losses(predictions, assignment, objects)
    assert float(box[1]) == pytest.approx(distance, rel=1e-5)
    assert (giou > 0).all()
    p = predictions.logits.sigmoid()
    focal = torch.where(targets > 0, 0.25 * (1 - p) ** 2 * -p.log(), 0.75 * p**2 * -(1 - p).log()).sum((1, 2, 3))
    torch.testing.assert_close(class_loss(predictions, targets), focal)


def test_unassigned_boxes_have_no_gradient():
    predictions, objects = make_case()
    predictions.boxes.requires_grad_()
    assignment = OverlapAssigner.second_stage(1000)(predictions, objects)
    box, giou = box_losses(predictions, assignment, objects)
    (box + giou).sum().backward()
    moved = predictions.boxes.grad.abs().sum(-1) > 0
    assigned = torch.zeros_like(moved)
    for _, image, g, k in assignment.valid.nonzero().tolist():
        assigned[:, image, assignment.index[0, image, g, k]] = True
    assert torch.equal(moved, assigned)


def test_hungarian_with_more_objects_than_predictions():
    predictions, objects = make_case(queries=2)
    predictions.logits[0, 0, 0, 0] = float("nan")  # the engine reports it; the matching must not fall over it
    assignment = HungarianAssigner()(predictions, objects)
    assert assignment.valid.sum(dim=(2, 3)).tolist() == [[2, 1, 0], [2, 1, 0]]
    taken = assignment.index[1, 0][assignment.valid[1, 0]]
    assert sorted(taken.tolist()) == [0, 1]


def test_boxes_without_area_are_no_objects():
    boxes = torch.tensor([[[5.0, 5, 5, 20], [float("nan"), 1, 2, 3], [1, 1, 9, 9]]])
    objects = make_objects(boxes, torch.zeros(1, 3).long(), torch.ones(1, 3).bool(), BOUNDS[:1], columns=[7])
    assert objects.valid.tolist() == [[False, False, True]]
    assert objects.boxes.isfinite().all()
    assert objects.classes.tolist() == [[7, 7, 7]]
