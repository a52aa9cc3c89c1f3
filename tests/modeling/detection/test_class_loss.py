"""How the classes of regions are learnt."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pe_dense.engine.initialization import initialize
from pe_dense.modeling.detection import FederatedLoss, SoftmaxLoss

CLASSES = torch.tensor([2, 5, 0, -1, 2, 5])  # 5 is background


def test_softmax():
    logits = torch.randn(6, 6)
    used = CLASSES >= 0
    loss = SoftmaxLoss()
    torch.testing.assert_close(loss(logits, CLASSES), F.cross_entropy(logits[used], CLASSES[used]))
    torch.testing.assert_close(loss.probabilities(logits), logits.softmax(dim=1)[:, :5])
    assert not loss.state_dict()


def test_with_all_classes_it_is_binary_cross_entropy():
    """Summed over the classes, mean over the regions that count; the background's logit plays no part."""
    logits = torch.randn(6, 6, requires_grad=True)
    goals = torch.tensor([[0, 0, 1, 0, 0], [0] * 5, [1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0] * 5], dtype=torch.float32)
    used = logits[CLASSES >= 0][:, :5]
    expected = F.binary_cross_entropy_with_logits(used, goals, reduction="sum") / 5
    loss = FederatedLoss(5)(logits, CLASSES)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad[:, 5].abs().sum() == logits.grad[3].abs().sum() == 0


def test_only_drawn_classes_are_learnt():
    torch.manual_seed(0)
    loss = FederatedLoss(200, image_counts=range(200), num_sampled=20)
    logits = torch.randn(6, 201, requires_grad=True)
    state = torch.get_rng_state()
    classes = CLASSES.where(CLASSES != 5, 200)
    loss(logits, classes).backward()
    torch.set_rng_state(state)
    drawn = loss.sample(classes)
    assert drawn.sum() == 20  # background is one of them
    assert drawn[[0, 2, 200]].all()
    assert torch.equal(logits.grad.abs().sum(dim=0) > 0, drawn & (torch.arange(201) < 200))


@pytest.mark.parametrize(
    ("classes", "background"), [(torch.tensor([3, 200, 3]), True), (torch.tensor([3, 3, -1]), False)]
)
def test_background_takes_a_place_where_there_is_some(classes, background):
    drawn = FederatedLoss(200).sample(classes)
    assert drawn.sum() == 50
    assert drawn[200] == background


def test_all_classes_of_the_regions_are_learnt_however_many():
    classes = torch.arange(0, 140, 2)
    drawn = FederatedLoss(200).sample(classes)
    assert torch.equal(drawn.nonzero()[:, 0], classes)


def test_classes_without_weight_are_not_drawn():
    counts = [0, 0, 4, 0, 0, 9]
    drawn = FederatedLoss(6, counts, num_sampled=5).sample(torch.tensor([3, 6]))
    assert drawn.tolist() == [False, False, True, True, False, True, True]


def test_classes_are_drawn_like_multinomial_without_repetition():
    """How often each class is among 3 of 8, against torch's own draw of the same kind."""
    torch.manual_seed(0)
    counts = [1, 4, 9, 16, 25, 36, 100, 400]
    loss = FederatedLoss(9, [*counts, 50], num_sampled=4)
    ours = torch.stack([loss.sample(torch.tensor([8])) for _ in range(6000)])[:, :8].float().mean(dim=0)
    weights = torch.tensor(counts).float().sqrt().expand(6000, -1)
    theirs = F.one_hot(torch.multinomial(weights, 3), 8).sum(dim=1).float().mean(dim=0)
    assert ours.sum() == pytest.approx(3)
    np.testing.assert_allclose(ours, theirs, atol=0.03)
    assert ours[0] < 0.1 < 0.8 < ours[7]


def test_probabilities():
    logits = torch.randn(4, 6)
    torch.testing.assert_close(FederatedLoss(5).probabilities(logits), logits.sigmoid()[:, :5])


def test_weights_are_kept_with_the_model():
    loss = FederatedLoss(3, [4, 100, 0])
    assert loss.state_dict().keys() == {"class_weights"}
    assert loss.class_weights.tolist() == [2, 10, 0]
    assert FederatedLoss(3, [4, 100, 0], power=1.0).class_weights.tolist() == [4, 100, 0]
    with torch.device("meta"):
        later = FederatedLoss(3, [4, 100, 0])
    later.to_empty(device="cpu")
    initialize(later)
    assert torch.equal(later.class_weights, loss.class_weights)


@pytest.mark.parametrize(
    ("counts", "message"),
    [([1, 2], "image_counts has 2 numbers for 3 classes; set num_classes"), ([1, -2, 3], "the negative number -2")],
)
def test_faulty_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        FederatedLoss(3, counts)
