"""Attention weights of one block, for looking at: the encoder itself never forms them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.layers.rope import apply_rope
from pe_dense.layers.windows import WindowOrder
from pe_dense.modeling.backbone.block import Attention
from pe_dense.modeling.backbone.vit import PerceptionEncoder


class _Reached(Exception):
    """The block's input is known; the rest of the encoder need not run."""


@torch.no_grad()
def attention_maps(encoder: PerceptionEncoder, images: Tensor, block: int, cell: tuple[int, int] | None) -> Tensor:
    """How much one token attends to each patch, in each head of a block.

    Args:
        encoder: in evaluation mode.
        images: B x 3 x H x W, normalised; H and W multiples of the patch size.
        block: 0-based; negative ones count from the last.
        cell: (row, column) of the patch that attends; ``None`` is the class token.

    Returns:
        B x heads x h x w, float32; 0 outside the patch's window in a windowed block. What goes to the class token is
        left out, so that a map need not sum up to 1.

    Raises:
        ValueError: for a block, a patch or a class token that the encoder does not have.
    """
    if not -encoder.depth <= block < encoder.depth:
        raise ValueError(f"block {block} asked for, but the encoder has blocks 0..{encoder.depth - 1} (or negative)")
    if cell is None and not encoder.use_cls_token:
        raise ValueError("this encoder has no class token: name the patch that attends")
    height, width = (int(side) // encoder.patch_size for side in images.shape[-2:])
    if cell is not None and not (0 <= cell[0] < height and 0 <= cell[1] < width):
        raise ValueError(f"patch {cell} lies outside the grid of {height} x {width} patches")
    attention = encoder.blocks[block].attn
    x, rope, mask, windows = _inputs(encoder, images, block)
    patches = token_patches(encoder, height, width).to(x.device)
    token = 0 if cell is None else int((patches == cell[0] * width + cell[1]).nonzero()[0, 0])
    weights = _weights(attention, x, rope, mask, windows, token)
    maps = weights.new_zeros(*weights.shape[:2], height * width)
    maps[:, :, patches[patches >= 0]] = weights[:, :, patches >= 0]
    return maps.unflatten(2, (height, width))


def token_patches(encoder: PerceptionEncoder, height: int, width: int) -> Tensor:
    """Number of the patch, row by row, that each token of a block stands for; -1 for the class token and padding."""
    grid = torch.arange(height * width).view(1, height, width, 1) + 1
    if encoder.window_size:
        return WindowOrder(height, width, encoder.window_size).to_windows(grid).flatten() - 1
    return F.pad(grid.flatten(), (int(encoder.use_cls_token), 0)) - 1


def _inputs(encoder: PerceptionEncoder, images: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """What the block's attention is called with."""
    seen: list[Any] = []

    def note(_: Any, args: tuple[Any, ...]) -> None:
        seen.extend(args)
        raise _Reached

    handle = encoder.blocks[block].attn.register_forward_pre_hook(note)
    try:
        encoder.forward_intermediates(images, [block])
    except _Reached:
        pass
    finally:
        handle.remove()
    x, rope, mask, windows = seen
    return x, rope, mask, windows


def _weights(attention: Attention, x: Tensor, rope: Tensor, mask: Tensor | None, windows: int, token: int) -> Tensor:
    """B x heads x N weights of one token, 0 outside its window."""
    batch, tokens, dim = x.shape
    inside = tokens // windows
    first = token // inside * inside
    qk = F.linear(x[:, first : first + inside], attention.in_proj_weight[: 2 * dim], attention.in_proj_bias[: 2 * dim])
    qk = apply_rope(qk.view(batch, inside, 2, attention.num_heads, dim // attention.num_heads), rope)
    q, k = qk.float().unbind(2)
    scores = torch.einsum("bhd,bnhd->bhn", q[:, token - first], k) / q.shape[-1] ** 0.5
    if mask is not None:
        visible = mask.view(batch, windows, 1, inside)
        scores = scores.masked_fill(~visible[:, token // inside], float("-inf"))
    weights = scores.new_zeros(batch, attention.num_heads, tokens)
    weights[:, :, first : first + inside] = scores.softmax(-1)
    return weights
