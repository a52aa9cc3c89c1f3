"""Fixed-size features of regions, from the pyramid level that fits their size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align


class ROIPooler(nn.Module):
    """Multi-level RoIAlign (FPN, equation 1; detectron2's ``ROIAlignV2``: aligned, one sample per feature cell).

    Args:
        output_size: side of the square result.
        strides: strides of the levels, each twice the one before.
        canonical_box_size: square root of the area of a box that belongs to ``canonical_level``.
        canonical_level: log2 of that level's stride.

    Raises:
        ValueError: if the strides are not successive powers of two.
    """

    def __init__(
        self,
        output_size: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        canonical_box_size: float = 224.0,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        self.min_level = round(math.log2(strides[0]))
        if list(strides) != [2 ** (self.min_level + i) for i in range(len(strides))]:
            raise ValueError(f"ROIPooler needs strides that are successive powers of two, got {list(strides)}")
        self.strides = tuple(strides)
        self.output_size = output_size
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level

    def assign_levels(self, boxes: Tensor) -> Tensor:
        """Index into ``strides`` for R x 4 boxes: R int64."""
        size = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
        level = torch.floor(self.canonical_level + torch.log2(size / self.canonical_box_size + 1e-8))
        return (level - self.min_level).clamp(0, len(self.strides) - 1).long()

    def forward(self, features: Sequence[Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Pool regions.

        Args:
            features: one B x C x H x W map per stride.
            boxes: R x 4 XYXY in input pixels.
            image_index: R, which image of the batch each box lies in.

        Returns:
            R x C x output_size x output_size; zeros for boxes without area.
        """
        levels = self.assign_levels(boxes)
        images = image_index[:, None].to(boxes.dtype)
        pooled = boxes.new_zeros(())
        for level, (feature, stride) in enumerate(zip(features, self.strides, strict=True)):
            # Boxes of other levels shrink to nothing: adaptive sampling then takes no sample and gives zeros, so
            # that the sum selects a level without the device sync that picking rows would need.
            own = torch.cat([images, boxes * (levels == level)[:, None]], dim=1)
            pooled = pooled + roi_align(feature, own, self.output_size, 1.0 / stride, aligned=True)
        return pooled
