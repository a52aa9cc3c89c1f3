"""Random choice of the boxes that a loss is computed on."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def subsample_labels(labels: Tensor, num_samples: int, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Choose boxes per image at random: positives up to a share, the rest negatives (Fast R-CNN, section 2.3).

    As in detectron2, missing positives are replaced by negatives, missing negatives by nothing. Works on the
    whole batch without waiting for the device, hence the fixed number of columns. Draws from torch's global
    random state of the labels' device.

    Args:
        labels: B x N; above 0 positive, 0 negative, below 0 never chosen.
        num_samples: boxes to choose per image.
        positive_fraction: at most ``int(positive_fraction * num_samples)`` of them are positive.

    Returns:
        B x S indices into N with S = min(num_samples, N), positives first, and a B x S bool that is False
        where an image had too few boxes to choose from.
    """
    total = labels.shape[1]
    max_positive = min(int(positive_fraction * num_samples), total)
    chance = torch.rand(labels.shape, device=labels.device)
    top = chance.masked_fill(labels <= 0, -1.0).topk(max_positive, dim=1)
    # sort keys: chosen positives in [2, 3], negatives in [0, 1), everything else negative
    key = chance.masked_fill(labels != 0, -1.0)
    chosen = torch.where(top.values >= 0, top.values + 2, key.gather(1, top.indices))
    value, index = key.scatter(1, top.indices, chosen).topk(min(num_samples, total), dim=1)
    return index, value >= 0
