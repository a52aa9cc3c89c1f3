"""Rows of merged windows against the same thing done with whole images."""

import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.segmentation import merging, window_grid
from pe_dense.modeling.segmentation.merging import LabelMap, WindowLogits

CLASSES = 3


def windows_of(size, crop, stride, seed=0):
    rng = torch.Generator().manual_seed(seed)
    placed = []
    for window in window_grid(*size, crop, stride):
        span = tuple(-(-side // 8) * 8 for side in window.size)
        logits = torch.randn(span[0] // 8, span[1] // 8, CLASSES, generator=rng)
        placed.append(WindowLogits(window, logits, span))
    return placed


def merged(placed, size):
    """Logits of an image, by the book: enlarge, cut padding off, add up, divide by the count."""
    total, count = torch.zeros(CLASSES, *size), torch.zeros(*size)
    for (top, bottom, left, right), logits, span in placed:
        whole = F.interpolate(logits.permute(2, 0, 1)[None], span, mode="bilinear")[0]
        total[:, top:bottom, left:right] += whole[:, : bottom - top, : right - left]
        count[top:bottom, left:right] += 1
    return total / count


@pytest.fixture(params=[1, 200, 2**23])
def _strip_size(request, monkeypatch):
    monkeypatch.setattr(merging.strips, "__defaults__", (request.param,))


CASES = [((40, 61), 24, 16), ((30, 50), 50, 50), ((24, 24), 24, 8)]


@pytest.mark.usefixtures("_strip_size")
@pytest.mark.parametrize("target", [(40, 61), (17, 90), (93, 44), (40, 70)])
@pytest.mark.parametrize(("size", "crop", "stride"), CASES)
def test_logits_of_strips_are_those_of_whole_images(size, crop, stride, target):
    placed = windows_of(size, crop, stride)
    parts = list(merging.resized_strips(placed, size, target))
    assert [rows.start for rows, _ in parts[1:]] == [rows.stop for rows, _ in parts[:-1]]
    expected = F.interpolate(merged(placed, size)[None], target, mode="bilinear")[0]
    torch.testing.assert_close(
        torch.cat([logits for _, logits in parts]).permute(2, 0, 1), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.usefixtures("_strip_size")
def test_copies_are_averaged_as_probabilities():
    target = (33, 47)
    labels = LabelMap(target, copies=2)
    mean = torch.zeros(CLASSES, *target)
    for seed, (size, flipped) in enumerate([((40, 61), False), ((24, 30), True)]):
        placed = windows_of(size, 24, 16, seed)
        labels.add(placed, size, flipped)
        logits = F.interpolate(merged(placed, size)[None], target, mode="bilinear")[0]
        mean += (logits.flip(-1) if flipped else logits).softmax(0) / 2
    assert torch.equal(labels.labels(), mean.argmax(0))


def test_half_precision_logits():
    placed = [w._replace(logits=w.logits.bfloat16()) for w in windows_of((40, 61), 24, 16)]
    labels = LabelMap((40, 61))
    labels.add(placed, (40, 61))
    assert labels.labels().dtype == torch.int64
    assert torch.equal(
        labels.labels(), merged([w._replace(logits=w.logits.float()) for w in placed], (40, 61)).argmax(0)
    )
