"""What the features of each layer are like, without any labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pe_dense.modeling.backbone.attention_statistics import AttentionSums, patch_attention
from pe_dense.modeling.backbone.features import block_numbers
from pe_dense.modeling.backbone.vit import PerceptionEncoder

NORM_OUTLIER = 3.0
ATTENTION_OUTLIER = 10.0


@torch.no_grad()
def layer_statistics(
    encoder: PerceptionEncoder, images: Iterable[Tensor], layers: Sequence[int], norm: bool = False
) -> dict[str, dict[int, float]]:
    """Statistics of the patch tokens after each block, over all images; class tokens are left out.

    Args:
        encoder: in evaluation mode.
        images: 1 x 3 x H x W, normalised, of any sizes that the patch divides; one at a time.
        layers: 0-based blocks; negative ones count from the last.
        norm: look at the features after the encoder's final norm (Core towers have one).

    Returns:
        By name and block:

        - "norm/mean", "norm/median", "norm/p99", "norm/max": L2 norms of the tokens;
        - "tokens/outliers": percentage of tokens whose norm is more than three times the median norm in their image
          (the high-norm tokens of arXiv 2309.16588, with a bound that does not depend on the scale of an encoder);
        - "tokens/global": percentage of patches to which the image's patches pay more than ten times as much attention
          as they would if they attended to all of them alike, averaged over heads: PE's global tokens (arXiv
          2504.13181, section 5.1);
        - "rank/effective": exponential of the entropy of the normalised singular values (Roy and Vetterli, 2007) of
          all tokens, less their mean; "rank/relative": the same in percent of the channels;
        - "attention/distance_px": distance between the centres of two patches, weighted by attention (arXiv
          2010.11929, section 4.5), the mean over patches, heads and images.

    Raises:
        ValueError: for a block the encoder does not have, or without images.
    """
    blocks = block_numbers(encoder, layers)
    tokens = {block: _TokenSums(encoder.embed_dim) for block in blocks}
    attention = {block: AttentionSums(ATTENTION_OUTLIER) for block in blocks}
    count = 0
    for image in images:
        with patch_attention(encoder, image, attention):
            maps = encoder.forward_intermediates(image, blocks, norm=norm)
        for block, grid in zip(blocks, maps):
            tokens[block].add(grid[0].flatten(1).T)
        count += 1
    if not count:
        raise ValueError("there are no images to look at: give at least one")
    rows = {block: {**tokens[block].numbers(), **attention[block].numbers()} for block in blocks}
    names = next(iter(rows.values()))
    return {name: {block: rows[block][name] for block in blocks} for name in names}


def effective_rank(singular_values: Tensor) -> float:
    """Exponential of the entropy of normalised singular values: 1 for a line, n for n equal ones; 0 for no spread."""
    total = singular_values.sum()
    if total <= 0:
        return 0.0
    share = singular_values / total
    share = share[share > 0]
    return math.exp(float(-(share * share.log()).sum()))


@dataclass
class _TokenSums:
    """What is kept of the tokens of one layer: their norms, and sums for their covariance."""

    channels: int

    def __post_init__(self) -> None:
        self.norms: list[Tensor] = []
        self.outliers = 0
        self.total: Any = 0.0
        self.products: Any = 0.0

    def add(self, tokens: Tensor) -> None:
        """N x C tokens of one image."""
        exact = tokens.double()  # products of large numbers are subtracted from each other at the end
        norms = exact.norm(dim=1)
        self.norms.append(norms.float().cpu())
        self.outliers += int((norms > NORM_OUTLIER * norms.median()).sum())
        self.total = self.total + exact.sum(0)
        self.products = self.products + exact.T @ exact

    def numbers(self) -> dict[str, float]:
        norms = torch.cat(self.norms)
        count = len(norms)
        mean = self.total / count
        scatter = self.products - count * torch.outer(mean, mean)
        rank = effective_rank(torch.linalg.eigvalsh(scatter).clamp(min=0).sqrt())
        return {
            "norm/mean": float(norms.double().mean()),
            "norm/median": float(norms.median()),
            "norm/p99": float(norms.kthvalue(max(1, math.ceil(0.99 * count))).values),
            "norm/max": float(norms.max()),
            "tokens/outliers": 100 * self.outliers / count,
            "rank/effective": rank,
            "rank/relative": 100 * rank / self.channels,
        }
