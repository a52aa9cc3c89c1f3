"""Stochastic depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drops a residual branch for whole samples while training (Huang et al., Deep Networks with Stochastic Depth).

    Args:
        rate: probability of dropping, in [0, 1).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """B x ... to the same shape; kept samples are scaled by 1 / (1 - rate)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        if torch.compiler.is_compiling():  # bernoulli_ would make blocks of different rates compile one by one
            mask = (torch.rand(shape, device=x.device) < keep).to(x.dtype)
        else:
            mask = x.new_empty(shape).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"
