"""The identity loss against a plain implementation, pair by pair."""

import math

import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.detection import BoxHead, IdentityHead, IdentityLoss, ROIPooler

from .helpers import pyramid


def plain(embeddings, identities, images, temperature):
    """Equations 5 and 6 of QDTrack with loops and Python's own numbers."""
    vectors, ids, image = embeddings.tolist(), identities.tolist(), images.tolist()
    cosine = lambda a, b: sum(x * y for x, y in zip(a, b))
    ranked, positives, negatives = [], [], []
    for i, v in enumerate(vectors):
        others = [j for j in range(len(vectors)) if ids[i] >= 0 and image[j] != image[i] and ids[j] != -2]
        plus = [cosine(v, vectors[j]) for j in others if ids[j] == ids[i]]
        minus = [cosine(v, vectors[j]) for j in others if ids[j] != ids[i]]
        positives += [(s - 1) ** 2 for s in plus]
        negatives += [s**2 for s in minus]
        if plus:
            ranked.append(math.log(1 + sum(math.exp((b - a) / temperature) for a in plus for b in minus)))
    mean = lambda values: sum(values) / max(1, len(values))
    return mean(ranked), (mean(positives) + mean(negatives)) / 2


def regions(seed=0, count=24):
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(count, 5, generator=generator, dtype=torch.float64), dim=1)
    identities = torch.randint(-2, 4, (count,), generator=generator)
    images = torch.arange(4).repeat_interleave(count // 4)
    return embeddings, identities, images


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_equals_a_plain_implementation(temperature):
    for seed in range(5):
        case = regions(seed)
        losses = IdentityLoss(temperature, identity_weight=0.5, similarity_weight=2.0)(*case)
        ranked, apart = plain(*case, temperature)
        assert ranked > 0.1
        assert losses["loss_identity"].item() == pytest.approx(0.5 * ranked, rel=1e-12)
        assert losses["loss_similarity"].item() == pytest.approx(2 * apart, rel=1e-12)


def test_objects_told_apart_cost_nothing():
    embeddings = F.one_hot(torch.tensor([0, 1, 2, 0, 1])).double()
    losses = IdentityLoss(temperature=0.01)(embeddings, torch.tensor([7, 9, -1, 7, 9]), torch.tensor([0, 0, 0, 1, 1]))
    assert losses["loss_similarity"] == 0
    assert losses["loss_identity"] < 1e-40


@pytest.mark.parametrize(
    ("identities", "images"),
    [([0, 1, 0, 1], [0, 0, 0, 0]), ([0, 1, 2, 3], [0, 0, 1, 1]), ([-1, -1, -2, -2], [0, 0, 1, 1]), ([], [])],
)
def test_nothing_in_common_gives_zero_and_finite_gradients(identities, images):
    embeddings = F.normalize(torch.ones(len(identities), 3), dim=1).requires_grad_()
    losses = IdentityLoss()(embeddings, torch.tensor(identities).long(), torch.tensor(images).long())
    assert losses["loss_identity"] == 0
    sum(losses.values()).backward()
    assert embeddings.grad.isfinite().all()


def test_one_object_in_two_frames_is_finite():
    """A positive but no negative."""
    embeddings = torch.tensor([[1.0, 0], [0, 1]], requires_grad=True)
    losses = IdentityLoss()(embeddings, torch.tensor([3, 3]), torch.tensor([0, 1]))
    assert losses["loss_identity"] == 0
    assert losses["loss_similarity"] == 0.5
    sum(losses.values()).backward()
    assert embeddings.grad.isfinite().all()


def test_unusable_temperature():
    with pytest.raises(ValueError, match="temperature must be positive, it is 0"):
        IdentityLoss(0)


def test_head():
    torch.manual_seed(0)
    head = IdentityHead(ROIPooler(7, [4, 8, 16, 32]), BoxHead(8, 7, [8], [16]), embed_dim=6)
    boxes = torch.tensor([[4.0, 4, 20, 30], [0, 0, 60, 60], [4, 4, 20, 30], [0, 0, 0, 0]])
    found = head(list(pyramid().values()), boxes, torch.tensor([0, 1, 1, 0]))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    assert not torch.allclose(found[0], found[2])
    assert head(list(pyramid().values()), boxes[:0], torch.zeros(0)).shape == (0, 6)
