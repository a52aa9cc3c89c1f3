"""Losses of metric depth, against the published ones."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pe_dense.engine.initialization import initialize
from pe_dense.modeling.depth import GradientLogLoss, ScaleShiftInvariantLoss, SigLoss, SILogLoss

ALL = [SigLoss(), SigLoss(warmup_calls=9), SILogLoss(), GradientLogLoss(), ScaleShiftInvariantLoss()]


@pytest.fixture
def case(fixtures: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, truth, and where it is known."""
    data = np.load(fixtures / "depth" / "losses.npz")
    depth, truth = (torch.from_numpy(data[name]) for name in ("pred", "gt"))
    return depth, truth, truth > 0


@pytest.fixture
def expected(fixtures: Path) -> dict:
    return json.loads((fixtures / "depth" / "expected.json").read_text())["losses"]


def test_published_values(case, expected) -> None:
    assert SigLoss()(*case).item() == pytest.approx(expected["dinov2_sigloss"], rel=1e-6)
    assert SILogLoss()(*case).item() == pytest.approx(expected["adabins_silog_x10_no_eps"], rel=1e-6)
    gradient = GradientLogLoss(weight=1.0)
    assert gradient(*case).item() == pytest.approx(expected["dinov3_gradient_log_loss"], rel=1e-6)
    singly = [gradient(*(t[i : i + 1] for t in case)).item() for i in range(2)]
    assert singly == pytest.approx(expected["dinov2_gradientloss_on_2d_slices"], rel=1e-6)


def test_warmup_leaves_the_variance_out(case, expected) -> None:
    loss = SigLoss(warmup_calls=2)
    values = [loss(*case).item() for _ in range(3)]
    first, after = expected["dinov2_sigloss_warmup_first_call"], expected["dinov2_sigloss_after_warmup"]
    assert values == pytest.approx([first, first, after], rel=1e-6)


def test_warmup_goes_on_where_it_stopped(case) -> None:
    loss = SigLoss(warmup_calls=3)
    loss(*case), loss(*case)
    resumed = SigLoss(warmup_calls=3)
    resumed.load_state_dict(loss.state_dict())
    assert [resumed(*case).item() for _ in range(2)] == [loss(*case).item() for _ in range(2)]
    assert resumed.calls == loss.calls == 4
    initialize(resumed)
    assert resumed.calls == 0


def test_calls_count_in_training_only(case) -> None:
    loss = SigLoss(warmup_calls=3).eval()
    loss(*case)
    assert loss.calls == 0


@pytest.mark.parametrize("loss", ALL)
def test_weight_is_a_factor(loss, case) -> None:
    twice = copy.deepcopy(loss)
    twice.weight *= 2
    assert twice(*case).item() == pytest.approx(2 * copy.deepcopy(loss)(*case).item())


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("hole", [0.0, float("nan"), float("inf")])
def test_unknown_pixels_do_not_matter(loss, hole, case) -> None:
    depth, truth, known = case
    values, gradients = [], []
    for filled, predicted in ((0.0, 1.0), (hole, 0.0)):
        guess = depth.where(known, predicted).requires_grad_()
        value = copy.deepcopy(loss)(guess, truth.where(known, filled), known)
        value.backward()
        values.append(value)
        gradients.append(guess.grad)
    assert torch.equal(*values)
    assert torch.equal(*gradients)
    assert gradients[0].isfinite().all()
    assert not gradients[0][~known].any()


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("known_pixels", [0, 1])
def test_next_to_nothing_known(loss, known_pixels) -> None:
    depth = torch.full((2, 1, 5, 7), 2.0, requires_grad=True)
    known = torch.zeros(2, 1, 5, 7, dtype=torch.bool)
    known[0, 0, 0, :known_pixels] = True
    value = loss(depth * 1, torch.full((2, 1, 5, 7), 3.0) * known, known)
    value.backward()
    assert value.isfinite()
    assert depth.grad.isfinite().all()
    assert known_pixels or (value == 0 and not depth.grad.any())


@pytest.mark.parametrize("loss", ALL)
def test_a_perfect_prediction(loss, case) -> None:
    _, truth, known = case
    guess = truth.clone().requires_grad_()
    value = loss(guess, truth, known)
    value.backward()
    assert value == 0
    assert guess.grad.isfinite().all()
