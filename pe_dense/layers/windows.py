"""Window-major token order: windows become a reshape instead of a copy in every block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class WindowOrder:
    """Tokens of an h x w grid, cut into windows of side s, each window's tokens standing together.

    The grid is padded at the bottom and right to multiples of s.

    Attributes:
        height: rows of the grid.
        width: columns of the grid.
        side: tokens along a window's side.
    """

    height: int
    width: int
    side: int

    @property
    def rows(self) -> int:
        """Windows from top to bottom."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Windows from left to right."""
        return -(-self.width // self.side)

    @property
    def padded(self) -> bool:
        """Whether the grid is not a whole number of windows."""
        return self.height % self.side != 0 or self.width % self.side != 0

    def to_windows(self, grid: Tensor) -> Tensor:
        """B x height x width x C to B x (rows * columns * side^2) x C; padding is zero."""
        s, rows, columns = self.side, self.rows, self.columns
        if self.padded:
            grid = F.pad(grid, (0, 0, 0, columns * s - self.width, 0, rows * s - self.height))
        blocks = grid.unflatten(2, (columns, s)).unflatten(1, (rows, s))
        return blocks.transpose(2, 3).flatten(1, 4)

    def to_grid(self, tokens: Tensor) -> Tensor:
        """The inverse of :meth:`to_windows`; padding is cut off."""
        s, rows, columns = self.side, self.rows, self.columns
        blocks = tokens.unflatten(1, (rows, columns, s, s)).transpose(2, 3)
        return blocks.flatten(3, 4).flatten(1, 2)[:, : self.height, : self.width]

    def valid(self, device: torch.device | str | None = None) -> Tensor:
        """(rows * columns) x side^2 bool, True for tokens that are not padding."""
        ones = torch.ones(1, self.height, self.width, 1, device=device)
        return self.to_windows(ones).view(self.rows * self.columns, self.side**2).bool()
