"""Where the cells of several feature maps lie in their images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_TEMPERATURE = 10000.0
_EPS = 1e-6  # beside the number of cells, in the denominator of the released position embedding


@dataclass
class Levels:
    """L maps of a padded batch of B images, S cells in all.

    Attributes:
        shapes: (height, width) of each map.
        extent: B x L x 2 float32, columns and rows of each map that an image covers, at least in part.
    """

    shapes: list[tuple[int, int]]
    extent: Tensor

    @classmethod
    def of(cls, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], padded: tuple[int, int]) -> Levels:
        """Levels of a batch.

        Args:
            maps: per level B x C x h x w.
            sizes: valid (height, width) of each image in pixels.
            padded: (height, width) of the batch in pixels.
        """
        shapes = [(int(m.shape[-2]), int(m.shape[-1])) for m in maps]
        covered = [[[-(-w * cols // padded[1]), -(-h * rows // padded[0])] for rows, cols in shapes] for h, w in sizes]
        extent = torch.tensor(covered, dtype=torch.float32).to(maps[0].device, non_blocking=True)
        return cls(shapes, extent)

    def index(self) -> Tensor:
        """S int64: the level of each cell."""
        parts = [torch.full((rows * cols,), level) for level, (rows, cols) in enumerate(self.shapes)]
        return torch.cat(parts).to(self.extent.device, non_blocking=True)

    def ratios(self) -> Tensor:
        """B x L x 2: share of each map's width and height that an image covers."""
        sizes = torch.tensor([[cols, rows] for rows, cols in self.shapes], dtype=torch.float32)
        return self.extent / sizes.to(self.extent.device, non_blocking=True)

    def padding(self) -> Tensor:
        """B x S bool: cells that no part of the image covers."""
        return torch.cat([self._axes(level)[2] for level in range(len(self.shapes))], dim=1)

    def centres(self) -> Tensor:
        """B x S x 2: centre (x, y) of each cell as a fraction of the covered part of its map."""
        parts = []
        for level in range(len(self.shapes)):
            x, y, _ = self._axes(level)
            x, y = x / self.extent[:, level, :1], y / self.extent[:, level, 1:]
            parts.append(_on_grid(x[..., None], y[..., None]))
        return torch.cat(parts, dim=1)

    def position_embedding(self, channels: int) -> Tensor:
        """Sines of each cell's place: B x S x channels, half of them of the row and half of the column."""
        parts = []
        for level in range(len(self.shapes)):
            x, y, _ = self._axes(level)
            x, y = (
                sine_embedding(at / (self.extent[:, level, i : i + 1] + _EPS), channels // 2)
                for i, at in enumerate((x, y))
            )
            parts.append(_on_grid(y, x, rows_first=True))
        return torch.cat(parts, dim=1)

    def _axes(self, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Centres of the columns (1 x w) and rows (1 x h) of a map in cells, and its padding, B x (h * w)."""
        rows, cols = self.shapes[level]
        x, y = (torch.arange(n, dtype=torch.float32, device=self.extent.device)[None] + 0.5 for n in (cols, rows))
        outside_x, outside_y = x > self.extent[:, level, :1], y > self.extent[:, level, 1:]
        return x, y, (outside_y[:, :, None] | outside_x[:, None]).flatten(1)


def _on_grid(first: Tensor, second: Tensor, rows_first: bool = False) -> Tensor:
    """Values of columns and rows at every cell, beside each other: B x (h * w) x (sum of channels).

    Args:
        first: B x w x c, or B x h x c if ``rows_first``.
        second: of the other axis.
        rows_first: whether the rows' values stand first.
    """
    of_rows, of_columns = (first, second) if rows_first else (second, first)
    grid = (of_rows.shape[1], of_columns.shape[1])
    spread = [of_rows[:, :, None].expand(-1, -1, grid[1], -1), of_columns[:, None].expand(-1, grid[0], -1, -1)]
    return torch.cat(spread if rows_first else spread[::-1], dim=-1).flatten(1, 2)


def sine_embedding(fraction: Tensor, channels: int) -> Tensor:
    """Sine and cosine of a position in turns, at falling frequencies (DETR, arXiv 2005.12872, section A.4).

    Args:
        fraction: ..., position as a fraction of a whole turn of the highest frequency.
        channels: even.

    Returns:
        ... x channels.
    """
    exponent = torch.arange(0, channels, 2, dtype=torch.float32, device=fraction.device) / channels
    angle = (2 * math.pi * fraction)[..., None] / _TEMPERATURE**exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Logit of a value in [0, 1], kept finite as in Deformable DETR."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))
