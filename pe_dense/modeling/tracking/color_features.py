"""Colours instead of learnt features: what an encoder must beat to be worth its time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.modeling.backbone.features import LayerFeatures


class ColorFeatures(nn.Module):
    """The mean colour of each patch, and a constant, so that dark and light of the same hue differ in direction.

    Args:
        patch_size: side of a patch in pixels.

    Attributes:
        stride: the same.

    Raises:
        ValueError: if it is not positive.
    """

    def __init__(self, patch_size: int = 16) -> None:
        super().__init__()
        if patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, it is {patch_size}")
        self.stride = patch_size

    def forward(self, images: Tensor) -> list[LayerFeatures]:
        """One entry: B x 4 x H/patch x W/patch of B x 3 x H x W normalised images."""
        colors = F.avg_pool2d(images.float(), self.stride)
        return [LayerFeatures(torch.cat([colors, torch.ones_like(colors[:, :1])], 1), None)]
