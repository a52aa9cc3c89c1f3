"""Mask branch: one small mask per region and class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from pe_dense.layers.conv_norm import ConvNorm
from pe_dense.modeling.detection.regions import Samples, Targets


class MaskHead(nn.Module):
    """Convolutions with LayerNorm, a 2x transposed convolution and a 1x1 prediction (Mask R-CNN, figure 4).

    Args:
        in_channels: channels of the pooled features.
        num_classes: K, one mask per class.
        conv_dims: output channels of each convolution; the transposed one keeps the last.
    """

    def __init__(self, in_channels: int, num_classes: int, conv_dims: Sequence[int] = (256, 256, 256, 256)) -> None:
        super().__init__()
        dims = [in_channels, *conv_dims]
        self.convs = nn.ModuleList(ConvNorm(a, b, 3) for a, b in pairwise(dims))
        self.deconv = nn.ConvTranspose2d(dims[-1], dims[-1], 2, stride=2)
        self.predictor = nn.Conv2d(dims[-1], num_classes, 1)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predictor.weight, std=0.001)
        for layer in (self.deconv, self.predictor):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        """Predict the masks of given classes.

        Args:
            x: R x C x m x m pooled features.
            classes: R int64 in 0..K-1.

        Returns:
            R x 2m x 2m float32 logits.
        """
        for conv in self.convs:
            x = F.relu(conv(x))
        logits = self.predictor(F.relu(self.deconv(x)))
        channel = classes[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        return logits.gather(1, channel)[:, 0].float()


def mask_loss(logits: Tensor, goals: Tensor) -> Tensor:
    """Mean binary cross-entropy over all mask pixels; 0, with a graph, if there are no masks.

    Args:
        logits: R x M x M.
        goals: R x M x M bool.
    """
    total = F.binary_cross_entropy_with_logits(logits, goals.to(logits.dtype), reduction="sum")
    return total / max(1, logits.numel())


@torch.no_grad()
def mask_targets(samples: Samples, targets: Targets, foreground: Tensor, side: int) -> Tensor:
    """Ground-truth masks cut out of the foreground regions and resized (detectron2's ``BitMasks.crop_and_resize``).

    The regions index the masks of their image directly, so that no mask is copied once per region.

    Args:
        samples: the regions.
        targets: ground truth with masks.
        foreground: B x S bool.
        side: M.

    Returns:
        B x S x M x M bool; False where a slot is not foreground.
    """
    if targets.masks is None:
        raise ValueError("mask targets need the ground-truth masks; build Targets with with_masks=True")
    rois = torch.cat([samples.objects[..., None].float(), samples.boxes], dim=-1)
    # a slot without an object becomes a point of the first mask, which adaptive sampling skips
    rois = rois * foreground[..., None]
    cut = [
        roi_align(m[:, None].float(), r, side, aligned=True)[:, 0] if len(m) else r.new_zeros(len(r), side, side)
        for m, r in zip(targets.masks, rois)
    ]
    return torch.stack(cut) >= 0.5
