"""A module's checkpoints under other names than its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Convert = Callable[[str, Tensor], tuple[str, Tensor] | None]
"""A name, without the module's prefix, and its value, as they are stored or used; ``None`` leaves them out."""


def convert_state(module: nn.Module, write: Convert, read: Convert) -> None:
    """Let a module's state dict have another layout, wherever the module is: saved, loaded or part of others.

    Args:
        module: the names of its parameters stay as they are.
        write: from its own layout to that of checkpoints.
        read: from that of checkpoints to its own.
    """

    def after_state_dict(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
        _convert(state, prefix, write)

    def before_load(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        _convert(state, prefix, read)

    module.register_state_dict_post_hook(after_state_dict)
    module.register_load_state_dict_pre_hook(before_load)


def _convert(state: dict[str, Any], prefix: str, convert: Convert) -> None:
    own = [key for key in state if key.startswith(prefix)]
    values = [(key.removeprefix(prefix), state.pop(key)) for key in own]
    for converted in (convert(name, value) for name, value in values):
        if converted is not None:
            state[prefix + converted[0]] = converted[1]
