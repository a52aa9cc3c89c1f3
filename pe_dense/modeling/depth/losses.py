"""Losses of metric depth: errors of its logarithm.

All take depth in metres, the true depth and where it is known (B x 1 x H x W each), give one number, and are zero, with
a gradient of zero, where nothing is known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SigLoss(nn.Module):
    """Scale-invariant error of the logarithm (Eigen et al., arXiv 1406.2283, in the form of AdaBins and DINOv2):
    ``sqrt(var(g) + 0.15 mean(g)^2)`` with g = ln(prediction + eps) - ln(truth + eps) over all known pixels of the
    batch; the variance is the unbiased one.

    Args:
        weight: factor on the loss.
        warmup_calls: in that many first calls in training the variance is left out, so that the overall scale is found
            first (DINOv2: 100). A call is one backward pass: with ``train.accumulate`` there are several per step.
        eps: metres.

    Attributes:
        calls: training calls so far, part of every checkpoint.
    """

    calls: Tensor

    def __init__(self, weight: float = 1.0, warmup_calls: int = 0, eps: float = 1e-3) -> None:
        super().__init__()
        self.weight, self.warmup_calls, self.eps = weight, warmup_calls, eps
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        self.calls.zero_()

    def forward(self, depth: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        """See the module's text."""
        error = log_error(depth, truth, known, self.eps)
        count = known.sum()
        mean = error.sum() / count.clamp(min=1)
        variance = (error - mean).where(known, 0).square().sum() / (count - 1).clamp(min=1)
        if self.warmup_calls and self.training:
            variance = variance * (self.calls >= self.warmup_calls)
            self.calls += 1
        return self.weight * _root(variance + 0.15 * mean.square())


class SILogLoss(SigLoss):
    """AdaBins' form (arXiv 2011.14141, section 3.4): ten times :class:`SigLoss` without eps, for decoders whose depth
    is above 0.

    Args:
        weight: factor on the loss.
    """

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__(weight, eps=0.0)


class GradientLogLoss(nn.Module):
    """Differences between the errors of the logarithm two pixels apart, at four scales (every pixel, every second,
    fourth and sixth): the sum of their sizes along both axes per known pixel, summed over the scales.

    This is DINOv2's second depth loss with the pixels taken along rows and columns, as DINOv3 does. DINOv2's code as
    published takes them along images and channels: it is zero for up to two images per process, those of its recipes,
    so that these are reproduced without this loss.

    Args:
        weight: factor on the loss (DINOv2: 0.5).
        eps: metres.
    """

    def __init__(self, weight: float = 0.5, eps: float = 1e-3) -> None:
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, depth: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        """See the module's text."""
        error = log_error(depth, truth, known, self.eps)
        total = torch.zeros_like(error.sum())
        for step in (1, 2, 4, 6):
            part, there = error[..., ::step, ::step], known[..., ::step, ::step]
            total = total + differences(part, there, distance=2).sum() / there.sum().clamp(min=1)
        return self.weight * total


def differences(error: Tensor, known: Tensor, distance: int) -> Tensor:
    """Per image, the sum of the absolute differences between pixels that far apart along both axes: B.

    Args:
        error: B x 1 x H x W.
        known: B x 1 x H x W; both pixels of a pair must be known.
        distance: in pixels.
    """
    total = error.new_zeros(len(error))
    for axis in (-2, -1):
        pairs = max(error.shape[axis] - distance, 0)
        first, second = (error.narrow(axis, start, pairs) for start in (0, error.shape[axis] - pairs))
        both = known.narrow(axis, 0, pairs) & known.narrow(axis, known.shape[axis] - pairs, pairs)
        total = total + (first - second).abs().where(both, 0).flatten(1).sum(1)
    return total


def log_error(depth: Tensor, truth: Tensor, known: Tensor, eps: float) -> Tensor:
    """ln(depth + eps) - ln(truth + eps), 0 where unknown."""
    one = torch.ones((), device=depth.device)  # what is unknown must not reach the logarithm: NaN * 0 is NaN
    return (depth.where(known, one) + eps).log() - (truth.where(known, one) + eps).log()


def _root(value: Tensor) -> Tensor:
    """The square root, with gradient 0 instead of infinity at 0."""
    return value.where(value > 0, 1).sqrt() * (value > 0)
