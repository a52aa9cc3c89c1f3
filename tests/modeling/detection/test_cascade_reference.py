"""Cascade heads against detectron2's ``CascadeROIHeads``.

``data/cascade_detectron2.npz`` holds what detectron2 (commit 02b5c4e) computed from random weights (int16 / 512),
random features (int8 / 16), jittered proposals and elliptic ground truth, with every proposal sampled, so that no
random number is involved.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection import BoxHead, BoxPredictor, CascadeROIHeads, MaskHead, Matcher, ROIPooler
from pe_dense.modeling.detection.regions import Proposals, Targets
from pe_dense.modeling.detection.released import from_detectron2
from pe_dense.structures import Instances

SIZES = [(200, 256), (256, 150)]
WEIGHTS = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))
LEVELS = ("p2", "p3", "p4", "p5")
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "cascade_detectron2.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def load(heads, reference):
    """Give region heads detectron2's weights."""
    state = {k.removeprefix("weights."): v.float() / 512 for k, v in reference.items() if k.startswith("weights.")}
    heads.load_state_dict({k.removeprefix("roi_heads."): v for k, v in from_detectron2(state).items()})


@pytest.fixture
def heads(reference):
    heads = CascadeROIHeads(
        ROIPooler(7), [BoxHead(6, 7, [6] * 4, [12]) for _ in WEIGHTS],
        [BoxPredictor(12, 4, BoxCoder(w), class_agnostic=True) for w in WEIGHTS],
        [Matcher([iou], [0, 1]) for iou in (0.5, 0.6, 0.7)], ROIPooler(14), MaskHead(6, 4, [6] * 4),
        batch_size_per_image=1_000_000, test_score_thresh=0.02, test_topk_per_image=30,
    )  # fmt: skip
    load(heads, reference)
    return heads


@pytest.fixture
def pyramid(reference):
    return {name: (reference[f"features.{name}"].float() / 16).requires_grad_() for name in LEVELS}


@pytest.fixture
def proposals(reference):
    boxes = reference["proposals"]
    return Proposals(boxes, torch.zeros(boxes.shape[:2]), torch.ones(boxes.shape[:2], dtype=torch.bool))


def ellipses(boxes, size):
    """The largest ellipses inside boxes: N x H x W bool."""
    ys, xs = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
    return ((xs - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((ys - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 <= 1


def test_losses_and_their_gradient(heads, pyramid, proposals, reference):
    objects = []
    for i, size in enumerate(SIZES):
        boxes = reference[f"gt{i}.boxes"]
        objects.append(Instances(size, boxes, classes=reference[f"gt{i}.classes"], masks=ellipses(boxes, size)))
    _, losses = heads(pyramid, proposals, SIZES, Targets.from_instances(objects, with_masks=True))
    expected = {k.removeprefix("loss."): v for k, v in reference.items() if k.startswith("loss.")}
    assert set(losses) == set(expected)
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)
    sum(losses.values()).backward()
    for name, level in pyramid.items():
        torch.testing.assert_close(level.grad.norm(), reference[f"grad_norm.{name}"], atol=1e-5, rtol=1e-3)


@torch.no_grad()
def test_detections(heads, pyramid, proposals, reference):
    detections, _ = heads.eval()(pyramid, proposals, SIZES)
    for i, found in enumerate(detections):
        torch.testing.assert_close(found.boxes, reference[f"det{i}.boxes"], atol=2e-4, rtol=0)
        torch.testing.assert_close(found.scores, reference[f"det{i}.scores"], atol=1e-5, rtol=0)
        assert torch.equal(found.classes, reference[f"det{i}.classes"])
