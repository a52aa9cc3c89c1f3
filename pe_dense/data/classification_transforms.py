"""Crops of the classification protocols."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pe_dense.data.geometry import View
from pe_dense.data.transforms import Transform

_TRIALS = 10


class CenterCrop(Transform):
    """Cut out the middle; where the image is smaller, its side is kept.

    Args:
        size: side in pixels.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"CenterCrop(size={size}): size must be positive")
        self.size = size

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Cut."""
        height, width = (min(side, self.size) for side in view.size)
        top, left = (view.size[0] - height) // 2, (view.size[1] - width) // 2
        return view.crop(left, top, height, width)


class RandomResizedCrop(Transform):
    """Cut out a random part of random shape and resize it to a square (torchvision's transform of this name).

    Args:
        size: side of the result in pixels.
        area: range of the part's share of the image's area.
        aspect: range of its width divided by its height, drawn from its logarithm.
    """

    def __init__(
        self, size: int, area: Sequence[float] = (0.08, 1.0), aspect: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        if size < 1 or not 0 < area[0] <= area[1] <= 1 or not 0 < aspect[0] <= aspect[1]:
            raise ValueError(
                f"RandomResizedCrop(size={size}, area={list(area)}, aspect={list(aspect)}): size must be positive, "
                "0 < area[0] <= area[1] <= 1 and 0 < aspect[0] <= aspect[1]"
            )
        self.size, self.area, self.aspect = size, tuple(area), tuple(aspect)

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Draw a part that lies inside; after ten failures the largest of an allowed shape, in the middle."""
        height, width = view.size
        for _ in range(_TRIALS):
            area = height * width * rng.uniform(self.area[0], self.area[1])
            aspect = math.exp(rng.uniform(math.log(self.aspect[0]), math.log(self.aspect[1])))
            h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < h <= height and 0 < w <= width:
                top, left = int(rng.integers(height - h, endpoint=True)), int(rng.integers(width - w, endpoint=True))
                return view.crop(left, top, h, w).resize(self.size, self.size)
        aspect = min(max(width / height, self.aspect[0]), self.aspect[1])
        h, w = max(1, min(height, round(width / aspect))), max(1, min(width, round(height * aspect)))
        return view.crop((width - w) // 2, (height - h) // 2, h, w).resize(self.size, self.size)
