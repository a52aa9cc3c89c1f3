"""Cross-entropy at the resolution of the labels without logits of that size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.modeling.segmentation.inference import needed_rows, strips

IGNORE = 255  # "no label", in all data sets and everywhere
_STRIP = {"cpu": 2**20}  # numbers that a processor's cache holds; other devices rather want few, large strips
_LARGE_STRIP = 2**26


def sem_seg_loss(logits: Tensor, labels: Tensor, class_weights: Sequence[float] | None = None) -> Tensor:
    """Cross-entropy of bilinearly enlarged logits (``align_corners=False``), averaged over the labelled pixels of a
    batch; 0 if there is none.

    Equal to enlarging the logits and ``F.cross_entropy(..., class_weights, ignore_index=255)``. But logits are enlarged
    a few rows at a time and differentiated at once: 150 classes at 512 x 512 pixels need a few megabytes, where the
    logits of an image would be 157 MB and be held three times, and pixels are computed while they are in the cache.

    Args:
        logits: B x K x h x w.
        labels: B x H x W int64, class indices or 255.
        class_weights: factor on the loss of each class.

    Returns:
        A scalar; it can be differentiated once.
    """
    weights = torch.tensor([1.0] * logits.shape[1] if class_weights is None else class_weights, device=logits.device)
    labelled = labels != IGNORE
    weight = weights[labels.where(labelled, 0)] * labelled
    total = weight.sum()
    loss: Tensor = _CrossEntropy.apply(logits.float(), labels.where(labelled, 0), weight)
    return loss / total.where(total > 0, 1)


class _CrossEntropy(torch.autograd.Function):
    """Sum over the pixels of weight times cross-entropy."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            losses, gradients = zip(*map(_image, logits, labels, weight))
        ctx.save_for_backward(torch.stack(gradients))
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        [gradient] = ctx.saved_tensors
        return gradient * outer[0], None, None


def _image(logits: Tensor, labels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of K x h x w logits and its derivative by them."""
    (num_classes, rows, columns), (height, width) = logits.shape, labels.shape
    down, across = _enlargement(rows, height, logits), _enlargement(columns, width, logits)
    wide = logits @ across.T
    wide_gradient = torch.zeros_like(wide)
    total = logits.new_zeros(())
    for start, stop in strips(height, num_classes * width, _STRIP.get(logits.device.type, _LARGE_STRIP)):
        top, bottom = needed_rows(start, stop, rows, height)
        part = down[start:stop, top:bottom]
        scores = part @ wide[:, top:bottom]  # K x strip x width
        index, w = labels[None, start:stop], weight[start:stop]
        true, peak = scores.gather(0, index)[0], scores.amax(0)
        scores.sub_(peak).exp_()
        norm = scores.sum(0)
        total += ((norm.log() + peak - true) * w).sum()
        scores.mul_(w / norm).scatter_add_(0, index, -w[None])  # the derivative: weight * (softmax - one-hot)
        wide_gradient[:, top:bottom] += part.T @ scores
    return total, wide_gradient @ across


def _enlargement(source: int, target: int, like: Tensor) -> Tensor:
    """The target x source matrix of a linear resize along one axis."""
    identity = torch.eye(source, device=like.device)[None]
    return F.interpolate(identity, target, mode="linear", align_corners=False)[0].T.contiguous()
