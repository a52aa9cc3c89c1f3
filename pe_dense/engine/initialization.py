"""Initial values for a model whose memory was allocated without them."""

from __future__ import annotations

from torch import nn


def initialize(model: nn.Module) -> None:
    """Draw all weights of a model anew, distributed as its constructors draw them.

    For a model that was built on the meta device: ``model.to_empty(device=...)``, then this, then a checkpoint or
    pretrained weights, if any (an encoder's weights given to a builder on the meta device are lost). In place, so that
    sharded parameters stay sharded.

    Children come before their parents: PyTorch's modules have ``reset_parameters``; those of ours that hold parameters,
    or want other values in their children, have ``init_weights``.

    Args:
        model: any module; its parameters hold memory.
    """
    for module in reversed(list(model.modules())):
        reset = getattr(module, "init_weights", None) or getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
