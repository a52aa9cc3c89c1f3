"""How far attention reaches, and which patches draw it to them: all heads and patches of a block at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.layers.rope import apply_rope
from pe_dense.modeling.backbone.attention_maps import token_patches
from pe_dense.modeling.backbone.block import Attention
from pe_dense.modeling.backbone.vit import PerceptionEncoder

_ROWS = 256  # queries whose weights are held at a time


class AttentionSums:
    """Numbers of one block, added up over images.

    Args:
        outlier: a patch is global if it draws so many times the attention of an average one.
    """

    def __init__(self, outlier: float) -> None:
        self.outlier = outlier
        self.distance = 0.0
        self.rows = 0
        self.globals = 0
        self.patches = 0

    def add(self, distances: Tensor, received: Tensor) -> None:
        """Take one image.

        Args:
            distances: mean distance of each patch in each head, in pixels.
            received: what each patch gets of the attention of all that can see it, averaged; 1 is an equal share.
        """
        self.distance += float(distances.double().sum())
        self.rows += distances.numel()
        self.globals += int((received > self.outlier).sum())
        self.patches += received.numel()

    def numbers(self) -> dict[str, float]:
        """Mean over all that was added."""
        return {
            "tokens/global": 100 * self.globals / self.patches,
            "attention/distance_px": self.distance / self.rows,
        }


@contextmanager
def patch_attention(encoder: PerceptionEncoder, image: Tensor, blocks: Mapping[int, AttentionSums]) -> Iterator[None]:
    """Inside, a forward pass of ``image`` (1 x 3 x H x W) adds the attention in these blocks to their sums."""
    height, width = (int(side) // encoder.patch_size for side in image.shape[-2:])
    patches = token_patches(encoder, height, width).to(image.device)
    places = torch.stack([patches // width, patches % width], dim=-1).float() * encoder.patch_size
    with ExitStack() as hooks:
        for block, sums in blocks.items():
            attention = encoder.blocks[block].attn
            note = partial(_add, sums=sums, patches=patches, places=places)
            hooks.callback(attention.register_forward_pre_hook(note).remove)
        yield


def _add(attention: Attention, args: tuple[Any, ...], *, sums: AttentionSums, patches: Tensor, places: Tensor) -> None:
    x, rope, _, windows = args
    found = []
    for part, numbers, at in zip(x.chunk(windows, dim=1), patches.chunk(windows), places.chunk(windows)):
        real = numbers >= 0
        if real.any():
            found.append(_window(attention, part[:, real], rope[real], at[real]))
    distances, received = zip(*found)
    sums.add(torch.cat(distances), torch.cat(received))


def _window(attention: Attention, x: Tensor, rope: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (patches x heads) and received attention (patches) among the patches of one window.

    The class token and padding are not among them: a softmax over the patches alone is the softmax over all tokens,
    scaled so that what goes to patches sums up to 1.
    """
    _, tokens, dim = x.shape
    heads = attention.num_heads
    qk = F.linear(x, attention.in_proj_weight[: 2 * dim], attention.in_proj_bias[: 2 * dim])
    qk = apply_rope(qk.view(1, tokens, 2, heads, dim // heads), rope)[0].float()
    q, k = qk.permute(1, 2, 0, 3)  # heads x tokens x dim each
    distances, received = [], places.new_zeros(tokens)
    for rows, here in zip(q.split(_ROWS, dim=1), places.split(_ROWS)):
        weights = (rows @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)  # heads x rows x tokens
        distances.append((weights * torch.cdist(here, places)).sum(-1).T)
        received += weights.sum((0, 1))
    return torch.cat(distances), received / heads
