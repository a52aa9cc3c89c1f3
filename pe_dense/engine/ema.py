"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pe_dense.engine.parallel import local


class Ema:
    """Moving average of every floating-point entry of ``model.state_dict()``; other entries are copied.

    The decay is ``min(decay, (1 + step) / (10 + step))``: the first steps, whose weights are still far from good, are
    soon forgotten.

    Args:
        model: the model that is trained; the average starts from its present weights.
        decay: weight of the old average in each update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.average: dict[str, Tensor] = {name: value.clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step number ``step`` (1 = the first)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        current = {name: local(value) for name, value in self.model.state_dict().items()}
        average = {name: local(value) for name, value in self.average.items()}
        floating = [name for name, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_([average[n] for n in floating], [current[n] for n in floating], weight)
        for name in current.keys() - set(floating):
            average[name].copy_(current[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model holds the averaged weights; afterwards its own again, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.model.state_dict().items():
            own, average = local(value), local(self.average[name])
            kept = own.clone()
            own.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights under the model's own names; writing into them continues from others."""
        return self.average
