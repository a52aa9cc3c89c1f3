"""LVIS's region heads, each class by itself and federated, against detectron2's ``StandardROIHeads``.

``data/lvis_detectron2.npz`` holds what detectron2 (commit 02b5c4e) computed on the features and objects of
``cascade_detectron2.npz`` from random weights (int16 / 512) and more proposals. As many classes are asked for as are
present or have a weight, and every proposal is sampled: no random number is involved. The last class has no weight.
"""

import numpy as np
import pytest
import torch

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection import (
    BoxHead,
    BoxPredictor,
    FederatedLoss,
    MaskHead,
    Matcher,
    ROIHeads,
    ROIPooler,
)
from pe_dense.modeling.detection.regions import Targets
from pe_dense.structures import Instances

from .test_cascade_reference import DATA, SIZES, ellipses, load, proposals, pyramid

__all__ = ["proposals", "pyramid"]  # fixtures of both

CLOSE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module")
def reference():
    def read(name, wanted):
        with np.load(DATA / name) as file:
            return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files if key.startswith(wanted)}

    return read("cascade_detectron2.npz", ("features.", "gt")) | read("lvis_detectron2.npz", "")


@pytest.fixture
def heads(reference):
    loss = FederatedLoss(9, num_sampled=9)
    heads = ROIHeads(
        ROIPooler(7), BoxHead(6, 7, [6] * 4, [12]), BoxPredictor(12, 9, BoxCoder((10, 10, 5, 5)), class_loss=loss),
        Matcher([0.5], [0, 1]), ROIPooler(14), MaskHead(6, 9, [6] * 4), batch_size_per_image=1_000_000,
        test_score_thresh=0.02, test_topk_per_image=60,
    )  # fmt: skip
    load(heads, reference)
    return heads


def test_losses_and_their_gradient(heads, pyramid, proposals, reference):
    objects = []
    for i, size in enumerate(SIZES):
        boxes = reference[f"gt{i}.boxes"]
        objects.append(Instances(size, boxes, classes=reference[f"gt{i}.classes"], masks=ellipses(boxes, size)))
    assert heads.box_predictor.class_loss.class_weights[-1] == 0
    _, losses = heads(pyramid, proposals, SIZES, Targets.from_instances(objects, with_masks=True))
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask"}
    for name, value in losses.items():
        torch.testing.assert_close(value, reference[f"loss.{name}"], **CLOSE)
    sum(losses.values()).backward()
    for name, level in pyramid.items():
        torch.testing.assert_close(level.grad.norm(), reference[f"grad_norm.{name}"], atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_detections(heads, pyramid, proposals, reference):
    detections, _ = heads.eval()(pyramid, proposals, SIZES)
    for i, found in enumerate(detections):
        assert len(found) == 60  # more than these have the score
        torch.testing.assert_close(found.scores, reference[f"det{i}.scores"], **CLOSE)
        torch.testing.assert_close(found.boxes, reference[f"det{i}.boxes"], **CLOSE)
        assert torch.equal(found.classes, reference[f"det{i}.classes"])
        torch.testing.assert_close(found.masks.probs[:5], reference[f"det{i}.masks"], **CLOSE)
