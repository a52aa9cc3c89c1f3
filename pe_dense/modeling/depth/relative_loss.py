"""The loss of relative depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pe_dense.modeling.depth.losses import differences


class ScaleShiftInvariantLoss(nn.Module):
    """Robust loss of depth or disparity up to a scale and a shift per image (MiDaS, arXiv 1907.01341, section 5).

    Prediction and truth of an image are each shifted by their median and divided by their mean absolute deviation from
    it, over its known pixels. The loss is half the sum of the absolute errors, without the largest ones, per known
    pixel; plus, at every, every second, fourth and eighth pixel, the differences between the errors of neighbours per
    known pixel. The mean over the images that have known pixels is taken; with none it is zero, as is its gradient.

    Args:
        weight: factor on the loss.
        trim: share of the known pixels, those with the largest errors, that are left out of the first term.
        gradient_weight: factor on the second term.

    Raises:
        ValueError: for a share outside [0, 1).
    """

    def __init__(self, weight: float = 1.0, trim: float = 0.2, gradient_weight: float = 0.5) -> None:
        super().__init__()
        if not 0 <= trim < 1:
            raise ValueError(f"trim must lie in [0, 1), it is {trim}")
        self.weight, self.trim, self.gradient_weight = weight, trim, gradient_weight

    def forward(self, depth: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        """Of B x 1 x H x W predictions and truths in the same space, and where the truth is known."""
        error = _normalized(depth, known) - _normalized(truth, known)
        count = known.flatten(1).sum(1)
        ordered = _ordered(error.abs(), known)
        rank = torch.arange(ordered.shape[1], device=error.device)
        kept = rank < (count - (count * self.trim).long())[:, None]
        losses = ordered.where(kept, 0).sum(1) / (2 * count.clamp(min=1))
        for step in (1, 2, 4, 8):
            part, there = error[..., ::step, ::step], known[..., ::step, ::step]
            change = differences(part, there, distance=1) / there.flatten(1).sum(1).clamp(min=1)
            losses = losses + self.gradient_weight * change
        return self.weight * losses.sum() / (count > 0).sum().clamp(min=1)


def _normalized(values: Tensor, known: Tensor) -> Tensor:
    """Each image's known values with median 0 and mean absolute value 1; 0 where unknown."""
    count = known.flatten(1).sum(1, keepdim=True)
    median = _ordered(values, known).gather(1, (count - 1).clamp(min=0) // 2)
    median = median.where(count > 0, 0)[..., None, None]
    centred = (values.where(known, 0) - median).where(known, 0)
    spread = centred.abs().flatten(1).sum(1, keepdim=True) / count.clamp(min=1)
    return centred / spread.clamp(min=1e-6)[..., None, None]


def _ordered(values: Tensor, known: Tensor) -> Tensor:
    """Each image's known values in ascending order, then infinities: B x (H W)."""
    return values.where(known, torch.inf).flatten(1).sort(dim=1).values
