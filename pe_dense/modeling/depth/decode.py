"""From a head's last channels to depth."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

BinSpacing = Literal["uniform", "log"]
BinNormalization = Literal["linear", "softmax", "sigmoid"]


class DepthBins(nn.Module):
    """Depth as the expectation over fixed depths (AdaBins, arXiv 2011.14141, with fixed bins; DINOv2, arXiv
    2304.07193, section 7.4).

    The first depth is ``min_depth``, the last ``max_depth``. (DINOv2's own log spacing takes both for powers of ten and
    cannot be used.)

    Args:
        min_depth: metres, above 0.
        max_depth: metres.
        bins: K, how many depths.
        spacing: "uniform", or "log": equal ratios.
        normalization: how logits become weights of sum 1: "softmax", or divided by their sum, "linear"
            (``relu(z) + 0.1``) or "sigmoid".

    Attributes:
        channels: K, the logits that :meth:`forward` takes.
        start: what the bias of the layer before starts at.

    Raises:
        ValueError: for an empty range, fewer than two bins, or an unknown spacing or normalization.
    """

    start = 0.0

    def __init__(
        self,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        bins: int = 256,
        spacing: BinSpacing = "uniform",
        normalization: BinNormalization = "linear",
    ) -> None:
        super().__init__()
        if not 0 < min_depth < max_depth or bins < 2:
            raise ValueError(
                f"min_depth {min_depth}, max_depth {max_depth}, bins {bins}: need 0 < min_depth < max_depth and 2 bins"
            )
        if spacing not in ("uniform", "log"):
            raise ValueError(f'spacing "{spacing}" is unknown: choose uniform or log')
        if normalization not in ("linear", "softmax", "sigmoid"):
            raise ValueError(f'normalization "{normalization}" is unknown: choose linear, softmax or sigmoid')
        self.min_depth, self.max_depth, self.channels = min_depth, max_depth, bins
        self.spacing, self.normalization = spacing, normalization

    def depths(self, device: torch.device | None = None) -> Tensor:
        """The K depths in metres, ascending."""
        if self.spacing == "uniform":
            return torch.linspace(self.min_depth, self.max_depth, self.channels, device=device)
        low, high = math.log(self.min_depth), math.log(self.max_depth)
        return torch.linspace(low, high, self.channels, device=device).exp()

    def forward(self, logits: Tensor) -> Tensor:
        """B x K x h x w to metres, B x 1 x h x w float32."""
        depths = self.depths(logits.device)
        with torch.autocast(logits.device.type, enabled=False):  # a sum over 256 depths needs float32
            logits = logits.float()
            if self.normalization == "softmax":
                return torch.einsum("bkhw,k->bhw", logits.softmax(dim=1), depths)[:, None]
            parts = logits.relu() if self.normalization == "linear" else logits.sigmoid()
            # weighted sum and sum of weights in one product
            sums = torch.einsum("bkhw,kc->bchw", parts, torch.stack([depths, torch.ones_like(depths)], dim=1))
            weighted, total = sums[:, :1], sums[:, 1:]
            if self.normalization == "linear":
                weighted, total = weighted + 0.1 * depths.sum(), total + 0.1 * self.channels
            return weighted / total


class DepthRegression(nn.Module):
    """Depth (or, for a relative model, what stands for it) directly: ``relu(z) + min_depth``.

    Args:
        min_depth: metres; 0 for relative models.

    Attributes:
        channels: 1, the channels that :meth:`forward` takes.
        start: what the bias of the layer before starts at: where it is the same for all pixels and below 0, as by
            chance it may be at the start, there is no gradient.
    """

    channels = 1
    start = 1.0

    def __init__(self, min_depth: float = 1e-3) -> None:
        super().__init__()
        if min_depth < 0:
            raise ValueError(f"min_depth must be 0 or more, it is {min_depth}")
        self.min_depth = min_depth

    def forward(self, raw: Tensor) -> Tensor:
        """B x 1 x h x w to the same shape, float32."""
        return raw.float().relu() + self.min_depth


DepthDecoder = DepthBins | DepthRegression


def init_predictor(predictor: nn.Conv2d, decoder: DepthDecoder) -> None:
    """Start the layer before a decoder: all pixels nearly alike, in the middle of the bins or at one metre."""
    nn.init.normal_(predictor.weight, std=0.01)
    assert predictor.bias is not None
    nn.init.constant_(predictor.bias, decoder.start)
