"""Soft labels on the grid of tokens: from given masks, and to a label for each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.modeling.tracking.frame_input import resize_nearest
from pe_dense.modeling.tracking.label_propagation import LabelPropagation

_ROUNDING = 1e-5  # what sums of a few weights that are 1 in theory stay below


def one_hot(masks: Tensor, ids: Sequence[int], grid: tuple[int, int]) -> Tensor:
    """Given masks on a grid: the label of the pixel at the centre of each cell.

    Args:
        masks: H x W int64.
        ids: K objects; other values count as background.
        grid: (h, w).

    Returns:
        h x w x (K + 1) float32, background first.
    """
    coarse = resize_nearest(masks, grid)
    objects = (
        torch.stack([coarse == value for value in ids], -1) if ids else coarse.new_zeros((*grid, 0), dtype=torch.bool)
    )
    return torch.cat([~objects.any(-1, keepdim=True), objects], -1).float()


def insert_masks(soft: Tensor, given: Tensor, channels: Sequence[int]) -> Tensor:
    """Soft labels corrected by given masks of some of the objects: they are the truth about these.

    A token of a given mask belongs to it alone. Elsewhere the given objects lose what they had, to the others in
    proportion, or to the background where no other has any.

    Args:
        soft: h x w x K, background first.
        given: h x w x K one-hot; only ``channels`` of it count.
        channels: of the given objects.
    """
    rest = soft.clone()
    rest[..., list(channels)] = 0
    total = rest.sum(-1, keepdim=True)
    background = F.one_hot(torch.zeros_like(total[..., 0], dtype=torch.int64), soft.shape[-1]).to(soft)
    rest = torch.where(total > 0, rest / total.clamp(min=1e-12), background)
    covered = given[..., list(channels)].any(-1, keepdim=True)
    return torch.where(covered, given, rest)


def upsample(channel: Tensor, size: tuple[int, int]) -> Tensor:
    """One channel h x w at (height, width), bilinear, corners not aligned."""
    return F.interpolate(channel[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def hard_labels(
    soft: Tensor, input_size: tuple[int, int], frame_size: tuple[int, int], settings: LabelPropagation
) -> Tensor:
    """The channel that each pixel of the frame belongs to.

    Each channel is enlarged and stretched to 0..1 over the frame (DINO's rule); the largest one wins, the first of
    equal ones. A channel that is constant but for rounding errors cannot be stretched (DINO's script divides 0 by 0,
    and the channel wins everywhere, or stretches the errors): it keeps its values. One channel at a time is held at
    full size.

    Args:
        soft: h x w x K, background first.
        input_size: (height, width) of the encoder's input.
        frame_size: (height, width) of the frame.
        settings: ``argmax`` and ``min_score``.

    Returns:
        H x W int64.
    """
    size = input_size if settings.argmax == "input" else frame_size
    winner = torch.zeros(size, dtype=torch.int64, device=soft.device)
    best = _stretched(upsample(soft[..., 0], size))
    for channel in range(1, soft.shape[-1]):
        if not soft[..., channel].max() > settings.min_score:
            continue
        values = _stretched(upsample(soft[..., channel], size))
        winner.masked_fill_(values > best, channel)
        torch.maximum(best, values, out=best)
    return winner if size == frame_size else resize_nearest(winner, frame_size)


def _stretched(channel: Tensor) -> Tensor:
    """The channel from 0 to 1; it is overwritten."""
    low, high = channel.aminmax()
    return channel.sub_(low).div_(high - low) if high - low > _ROUNDING else channel
