"""The scale-and-shift-invariant loss, against a plain reading of its definition."""

import numpy as np
import pytest
import torch

from pe_dense.modeling.depth import ScaleShiftInvariantLoss


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    depth, truth = (torch.rand(3, 1, 13, 18, generator=rng) * 5 for _ in range(2))
    return depth, truth, torch.rand(3, 1, 13, 18, generator=rng) > 0.3


def normalized(values: np.ndarray) -> np.ndarray:
    centred = values - np.sort(values)[(len(values) - 1) // 2]
    return centred / np.abs(centred).mean()


def by_definition(depth, truth, known, trim: float, weight: float) -> float:
    losses = []
    for p, t, there in zip(depth[:, 0].numpy(), truth[:, 0].numpy(), known[:, 0].numpy()):
        error = np.full(p.shape, np.nan)
        error[there] = normalized(p[there].astype(np.float64)) - normalized(t[there].astype(np.float64))
        sizes = np.sort(np.abs(error[there]))
        loss = sizes[: len(sizes) - int(trim * len(sizes))].sum() / (2 * len(sizes))
        for step in (1, 2, 4, 8):
            part = error[::step, ::step]
            change = sum(np.nansum(np.abs(np.diff(part, axis=axis))) for axis in (0, 1))
            loss += weight * change / np.isfinite(part).sum()
        losses.append(loss)
    return float(np.mean(losses))


@pytest.mark.parametrize(("trim", "weight"), [(0.2, 0.0), (0.2, 0.5), (0.0, 1.0)])
def test_definition(trim: float, weight: float) -> None:
    found = ScaleShiftInvariantLoss(trim=trim, gradient_weight=weight)(*maps())
    assert found.item() == pytest.approx(by_definition(*maps(), trim, weight), rel=1e-5)


def test_scale_and_shift_of_each_image_do_not_matter() -> None:
    depth, truth, known = maps()
    scale, shift = torch.tensor([0.5, 3, 40]).view(-1, 1, 1, 1), torch.tensor([-2, 0, 7]).view(-1, 1, 1, 1)
    loss = ScaleShiftInvariantLoss()
    assert loss(depth * scale + shift, truth, known).item() == pytest.approx(loss(depth, truth, known).item(), rel=1e-4)
    assert loss(truth * scale + shift, truth, known).item() == pytest.approx(0, abs=1e-4)
    assert loss(-truth, truth, known) > 0.5  # near and far exchanged


def test_outliers_are_left_out() -> None:
    _, truth, known = maps()
    wrong = truth.clone()
    wrong[..., 5, :2] += 0.5
    known[..., 5, :2] = True
    loss = ScaleShiftInvariantLoss(gradient_weight=0)
    wrong.requires_grad_()
    loss(wrong, truth, known).backward()
    assert loss(wrong, truth, known) < 0.2 * ScaleShiftInvariantLoss(trim=0, gradient_weight=0)(wrong, truth, known)


def test_images_without_known_depth_are_not_counted() -> None:
    depth, truth, known = maps()
    loss = ScaleShiftInvariantLoss()
    known[2] = False
    first_two = loss(depth[:2], truth[:2], known[:2])
    torch.testing.assert_close(loss(depth, truth, known), first_two)


def test_bad_trim() -> None:
    with pytest.raises(ValueError, match=r"trim must lie in \[0, 1\)"):
        ScaleShiftInvariantLoss(trim=1.0)
