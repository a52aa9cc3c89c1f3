"""What the encoder's blocks need to know of the token grid: order, rotations, padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pe_dense.layers.rope import rope_table
from pe_dense.layers.windows import WindowOrder


class Geometry(NamedTuple):
    """One token grid.

    Attributes:
        order: window-major order of the tokens, ``None`` without windows.
        rope: rotation of every token, in the order of the tokens.
        window_rope: rotation of the tokens of one window; ``rope`` without windows.
        valid: (number of windows) x (tokens per window) bool, ``None`` if no token is padding.
    """

    order: WindowOrder | None
    rope: Tensor
    window_rope: Tensor
    valid: Tensor | None


def make_geometry(
    height: int,
    width: int,
    head_dim: int,
    window_size: int,
    rope_reference: int | None,
    use_cls_token: bool,
    device: torch.device,
) -> Geometry:
    """Geometry of a grid.

    Args:
        height: tokens per column.
        width: tokens per row.
        head_dim: channels per attention head.
        window_size: side of the windows in tokens, 0 for none.
        rope_reference: see :func:`pe_dense.layers.rope.rope_table`.
        use_cls_token: whether a class token, which does not turn, stands first.
        device: where the tables are made.
    """
    args = (head_dim, rope_reference, int(use_cls_token), device)
    rope = rope_table(height, width, *args)
    if use_cls_token:
        still = torch.tensor([1.0, 0.0], device=device).expand(1, head_dim // 2, 2)
        rope = torch.cat([still, rope])
    if not window_size:
        return Geometry(None, rope, rope, None)
    order = WindowOrder(height, width, window_size)
    by_window = order.to_windows(rope.view(1, height, width, -1)).view(-1, head_dim // 2, 2)
    window_rope = rope_table(window_size, window_size, *args)
    return Geometry(order, by_window, window_rope, order.valid(device) if order.padded else None)
