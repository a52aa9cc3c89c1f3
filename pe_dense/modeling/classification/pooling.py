"""One vector of a layer's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pe_dense.modeling.backbone.features import LayerFeatures

Pooling = Literal["cls", "mean", "cls_mean"]
"""The class token, the mean of the patches, or both after each other (DINOv2's linear protocol)."""


def pooled(layer: LayerFeatures, pooling: Pooling, cells: Sequence[tuple[int, int]] | None = None) -> Tensor:
    """B x C, or B x 2C for "cls_mean", float32.

    Args:
        layer: of a batch.
        pooling: see :data:`Pooling`.
        cells: (rows, columns) of the map that each image covers; ``None``: all of it.

    Raises:
        ValueError: if there is no class token to use, or the pooling is unknown.
    """
    if pooling not in ("cls", "mean", "cls_mean"):
        raise ValueError(f'pooling "{pooling}" is unknown: choose cls, mean or cls_mean')
    parts = []
    if pooling != "mean":
        if layer.cls is None:
            raise ValueError(f'pooling is "{pooling}" but this encoder has no class token: set it to "mean"')
        parts.append(layer.cls.float())
    if pooling != "cls":
        maps = layer.map.float()
        covered = [tuple(maps.shape[-2:])] * len(maps) if cells is None else cells
        parts.append(torch.stack([m[:, :rows, :columns].mean((1, 2)) for m, (rows, columns) in zip(maps, covered)]))
    return torch.cat(parts, dim=1)
