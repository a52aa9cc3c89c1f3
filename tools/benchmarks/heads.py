"""What a head costs in training, against the forward pass of the frozen encoder that it stands on."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from benchmarks.timing import interleaved, ratio_row
from torch import nn

from pe_dense.modeling.backbone import EncoderFeatures, LayerFeatures, pe_spatial_b16_512
from pe_dense.modeling.depth import DepthBins, DepthRegression, DPTHead, LinearDepthHead

LAYERS = [2, 5, 8, 11]


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the benchmark table, with one thread; ``quick`` takes a small image."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    side, repeats = (64, 1) if quick else (512, 5)
    neck = EncoderFeatures(pe_spatial_b16_512(), LAYERS, trainable_blocks=0)
    images = torch.randn(1, 3, side, side)
    features = neck(images)
    width = neck.embed_dim
    heads: dict[str, tuple[nn.Module, list[LayerFeatures], float]] = {
        "linear depth head, 1 layer": (LinearDepthHead(width, DepthBins()), features[-1:], 20.0),
        "linear depth head, 4 layers": (LinearDepthHead(4 * width, DepthBins()), features, 20.0),
        "DPT depth head": (DPTHead(width, DepthRegression()), features, 1 / 0.6),
    }
    candidates = {name: partial(_step, head, layers) for name, (head, layers, _) in heads.items()}
    seconds = interleaved({"encoder": partial(neck, images), **candidates}, repeats)
    return [
        ratio_row(
            f"{name}, forward and backward, {side} px, PE-Spatial B", "forward pass of the frozen encoder",
            seconds[name], seconds["encoder"], target, note=f"{seconds[name] / seconds['encoder']:.1%} of it",
        )
        for name, (_, _, target) in heads.items()
    ]  # fmt: skip


def _step(head: nn.Module, features: list[LayerFeatures]) -> None:
    head.zero_grad(set_to_none=True)
    head(features).mean().backward()
