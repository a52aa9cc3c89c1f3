import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.segmentation import loss
from pe_dense.modeling.segmentation.loss import sem_seg_loss

CLASSES = 5


def case(size=(6, 9), target=(25, 31)):
    rng = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(2, CLASSES, *size, generator=rng)).requires_grad_()
    labels = torch.randint(0, CLASSES, (2, *target), generator=rng)
    labels[torch.rand(labels.shape, generator=rng) < 0.3] = 255
    return logits, labels


@pytest.mark.parametrize("strip", [1, 700, 2**20])
@pytest.mark.parametrize("class_weights", [None, [0.0, 1.0, 2.0, 0.5, 3.0]])
@pytest.mark.parametrize("target", [(25, 31), (6, 9), (6, 20), (4, 5)])
def test_value_and_gradient_are_those_of_enlarged_logits(monkeypatch, strip, class_weights, target):
    monkeypatch.setitem(loss._STRIP, "cpu", strip)
    logits, labels = case(target=target)
    value = sem_seg_loss(logits, labels, class_weights)
    [gradient] = torch.autograd.grad(3 * value, logits)
    enlarged = F.interpolate(logits, target, mode="bilinear")
    weights = None if class_weights is None else torch.tensor(class_weights)
    expected = F.cross_entropy(enlarged, labels, weights, ignore_index=255)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(3 * expected, logits)[0], atol=1e-6, rtol=1e-4)


def test_nothing_labelled_or_only_classes_without_weight():
    logits, labels = case()
    for value in (
        sem_seg_loss(logits, torch.full_like(labels, 255)),
        sem_seg_loss(logits, torch.zeros_like(labels), [0.0, 1, 1, 1, 1]),
    ):
        assert value == 0
        assert not torch.autograd.grad(value, logits)[0].any()


def test_large_logits_and_half_precision():
    logits, labels = case()
    value = sem_seg_loss(1000 * logits, labels)
    assert value.isfinite()
    assert torch.autograd.grad(value, logits)[0].isfinite().all()
    half = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = sem_seg_loss(half, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(value, sem_seg_loss(half.float(), labels))
