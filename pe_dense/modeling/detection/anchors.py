"""Anchor boxes of a feature pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_CACHE_ENTRIES = 8  # anchors of one 1024 px pyramid take 4 MB; test images may come in many shapes


class AnchorGenerator:
    """Boxes of fixed sizes and shapes at every position of every pyramid level (Faster R-CNN, section 3.1.1).

    Args:
        sizes: per level, the square roots of the anchor areas in pixels.
        aspect_ratios: height / width, the same on every level.
        strides: pixels between neighbouring positions, per level.
        offset: centre of the first anchor in units of the stride, in [0, 1).

    Raises:
        ValueError: if ``sizes`` and ``strides`` differ in length, or levels differ in their number of anchors.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]] = ((32,), (64,), (128,), (256,), (512,)),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        offset: float = 0.0,
    ) -> None:
        if len(sizes) != len(strides):
            raise ValueError(f"anchor sizes are given for {len(sizes)} levels but strides for {len(strides)}")
        if len({len(s) for s in sizes}) != 1:
            raise ValueError(f"every level needs the same number of anchor sizes, got {[len(s) for s in sizes]}")
        self.strides = tuple(int(s) for s in strides)
        self.offset = offset
        self.num_anchors = len(sizes[0]) * len(aspect_ratios)
        self._cells = [[_cell_anchor(size, ratio) for size in level for ratio in aspect_ratios] for level in sizes]
        self._cache: dict[tuple[tuple[tuple[int, int], ...], torch.device], list[Tensor]] = {}

    def __call__(self, shapes: Sequence[tuple[int, int]], device: torch.device | str) -> list[Tensor]:
        """Anchors of the whole pyramid.

        Args:
            shapes: (height, width) of each level's map.
            device: where the anchors are needed.

        Returns:
            per level, (height * width * num_anchors) x 4 float32 XYXY boxes; rows are ordered by
            position (row-major), then size, then aspect ratio. Do not modify: they are cached.
        """
        if len(shapes) != len(self.strides):
            raise ValueError(f"anchors are set up for {len(self.strides)} levels but got {len(shapes)} feature maps")
        key = tuple((int(h), int(w)) for h, w in shapes), torch.device(device)
        if key not in self._cache:
            # made as normal tensors even inside torch.inference_mode, since training may use them later
            with torch.inference_mode(False):
                made = [self._level(i, *shape).to(device, non_blocking=True) for i, shape in enumerate(key[0])]
            while len(self._cache) >= _CACHE_ENTRIES:
                self._cache.pop(next(iter(self._cache)))
            self._cache[key] = made
        return self._cache[key]

    def _level(self, level: int, height: int, width: int) -> Tensor:
        """Anchors of one level: (height * width * num_anchors) x 4."""
        stride = self.strides[level]
        ys, xs = ((torch.arange(n, dtype=torch.float32) + self.offset) * stride for n in (height, width))
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        return (shifts + torch.tensor(self._cells[level], dtype=torch.float32)).reshape(-1, 4)


def _cell_anchor(size: float, ratio: float) -> tuple[float, float, float, float]:
    """The box of area ``size``^2 and height / width = ``ratio`` around the origin."""
    width = math.sqrt(size * size / ratio)
    height = ratio * width
    return -width / 2, -height / 2, width / 2, height / 2
