"""Two-dimensional rotary position embedding of the Perception Encoder."""

from __future__ import annotations

import torch
from torch import Tensor

THETA = 10000.0


def rope_table(
    height: int,
    width: int,
    head_dim: int,
    reference: int | None = None,
    offset: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Rotation of every token of a grid (axial RoPE; PE, appendix on the architecture).

    The first half of the head's pairs turns with the column, the second half with the row; pair k of an axis turns
    by ``position * 10000^(-4k / head_dim)``.

    Args:
        height: tokens per column of the grid.
        width: tokens per row.
        head_dim: channels per head, divisible by 4.
        reference: ``None`` counts positions 0, 1, 2 ... (``index``: larger grids extrapolate); a number squeezes or
            stretches each axis so that it spans that many positions (``rescaled``).
        offset: added to every position; 1 beside a class token, which itself does not turn.
        device: where the table is made.

    Returns:
        (height * width) x (head_dim / 2) x 2 float32: cosine and sine, tokens row by row.

    Raises:
        ValueError: if ``head_dim`` is not divisible by 4.
    """
    if head_dim % 4:
        raise ValueError(f"2-D RoPE needs head_dim divisible by 4, got {head_dim}; change num_heads or embed_dim")
    frequency = THETA ** (-torch.arange(head_dim // 4, device=device, dtype=torch.float32) * 4 / head_dim)
    rows, columns = (torch.arange(n, device=device, dtype=torch.float32) for n in (height, width))
    if reference is not None:
        rows, columns = rows * (reference / height), columns * (reference / width)
    rows, columns = rows + offset, columns + offset
    by_column = (columns[:, None] * frequency).expand(height, -1, -1)
    by_row = (rows[:, None] * frequency)[:, None].expand(-1, width, -1)
    angle = torch.cat([by_column, by_row], dim=-1).flatten(0, 1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def apply_rope(x: Tensor, table: Tensor) -> Tensor:
    """Rotate channel pairs (2i, 2i + 1), in float32, all in one multiplication.

    Args:
        x: B x N x ... x head_dim (queries and keys together, so that both turn at once).
        table: N x (head_dim / 2) x 2 from :func:`rope_table`.

    Returns:
        Same shape and dtype as ``x``.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    table = table.view(table.shape[0], *[1] * (x.dim() - 3), *table.shape[1:])
    if torch.compiler.is_compiling():  # the compiler fuses real arithmetic but not complex numbers
        (even, odd), (cos, sin) = pairs.unbind(-1), table.unbind(-1)
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    else:  # one kernel instead of four
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    return turned.flatten(-2).type_as(x)
