"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
        current = self.model.state_dict()
        floating = [name for name, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floating], [current[n] for n in floating], weight)
        for name in current.keys() - set(floating):
            self.average[name].copy_(current[name])

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
            kept = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights under the model's own names."""
        return self.average

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from saved averages.

        Raises:
            ValueError: if the names are not the model's.
        """
        if state.keys() != self.average.keys():
            odd = sorted(state.keys() ^ self.average.keys())
            raise ValueError(f"the EMA weights do not fit the model: {len(odd)} names differ, e.g. {odd[:3]}")
        for name, value in state.items():
            self.average[name].copy_(value)
