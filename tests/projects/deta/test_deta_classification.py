"""Losses of the classes, by hand."""

import math

import pytest
import torch

from projects.deta import Criterion, Focal, QualityFocal, Varifocal
from projects.deta.assignment import Assignment, Objects
from projects.deta.losses import overlaps
from projects.deta.predictions import Predictions

P = 0.3
LOGIT = math.log(P / (1 - P))


def entropy(target):
    return -(target * math.log(P) + (1 - target) * math.log(1 - P))


@pytest.mark.parametrize(
    ("loss", "target", "expected"),
    [
        (Focal(), 1.0, 0.25 * 0.7**2 * -math.log(P)),
        (Focal(), 0.0, 0.75 * 0.3**2 * -math.log(1 - P)),
        (Varifocal(), 0.8, 0.8 * entropy(0.8)),
        (Varifocal(), 0.0, 0.75 * 0.3**2 * entropy(0.0)),
        (QualityFocal(), 0.8, 0.5**2 * entropy(0.8)),
        (QualityFocal(), 0.0, 0.3**2 * entropy(0.0)),
        (QualityFocal(), 0.3, 0.0),
    ],
)
def test_by_hand(loss, target, expected):
    assert loss(torch.tensor(LOGIT), torch.tensor(target)) == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def case():
    """Two layers; the first prediction overlaps the second object by a half, in the second layer wholly."""
    objects = Objects(
        torch.tensor([[[0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 1.0, 1.0]]]),
        torch.tensor([[2, 1, 0]]),
        torch.tensor([[True, True, False]]),
    )
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]], [[0.5, 0.5, 0.2, 0.4], [0.9, 0.9, 0.1, 0.1]]])
    index = torch.tensor([[[[0], [0], [1]]]])
    predictions = Predictions(torch.full((2, 1, 2, 3), LOGIT), boxes[:, None].requires_grad_(), boxes[:1])
    return predictions, Assignment(index, objects.valid[None, ..., None]), objects


def test_overlaps(case):
    """Of a shared prediction with the object whose class it learns; none without one; no gradient."""
    found = overlaps(*case)
    torch.testing.assert_close(found, torch.tensor([[[0.5, 0.0]], [[1.0, 0.0]]]))
    assert not found.requires_grad


def test_criterion(case):
    predictions, assignment, objects = case
    criterion = Criterion(classification=Varifocal())
    found = criterion.per_layer(predictions, objects, lambda *_: assignment, torch.tensor(2.0))
    nothing = 5 * 0.75 * 0.3**2 * entropy(0.0)
    expected = [0.5 * entropy(0.5) + nothing, entropy(1.0) + nothing]
    torch.testing.assert_close(found["cls"], torch.tensor(expected) / 2)
