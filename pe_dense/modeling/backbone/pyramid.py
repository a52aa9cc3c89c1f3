"""From the encoder's single-scale intermediate maps to a feature pyramid."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.layers.conv_norm import ConvNorm
from pe_dense.layers.layer_norm2d import LayerNorm2d
from pe_dense.modeling.backbone.encoder_shape import EncoderShape
from pe_dense.modeling.backbone.features import prepare_encoder, running
from pe_dense.modeling.backbone.vit import PerceptionEncoder

logger = logging.getLogger(__name__)

Layer = tuple[Tensor, Tensor | None]  # what the encoder gives for a block: its map and class token
PyramidMode = Literal["last", "per_level", "weighted"]
_SCALES = {"p2": 4.0, "p3": 2.0, "p4": 1.0, "p5": 0.5, "p6": 0.25}  # map size relative to the encoder's


class FeaturePyramid(nn.Module):
    """Simple feature pyramid (ViTDet, arXiv 2203.16527, section 3) on one or several layers of the encoder.

    Parts of the encoder that the chosen layers do not need do not train.

    Args:
        backbone: the encoder; or its shape, if it is shared with other necks and :meth:`from_layers` is all that is
            called.
        out_channels: channels of every level.
        mode: ``last``: all levels from one map; ``per_level``: every level from p2 to p5 from its own layer;
            ``weighted``: all levels from a mix of normalised maps with learned softmax weights.
        layers: 0-based blocks, negative ones count from the last; ``None`` is the last block (``last``) or, for the
            other modes, four blocks evenly spread over the depth. ``last`` takes one, ``per_level`` one per level.
        levels: which of p2..p6 to make; p6 is pooled from p5 and needs it.
        norm: apply the encoder's final norm to the maps (Core towers have one).
        trainable_blocks: ``None`` trains the whole encoder, 0 freezes it, n trains its last n blocks.

    Raises:
        ValueError: for unknown levels, a number of layers the mode cannot use, or a norm the encoder does not have.
    """

    def __init__(
        self,
        backbone: PerceptionEncoder | EncoderShape,
        out_channels: int = 256,
        mode: PyramidMode = "last",
        layers: Sequence[int] | None = None,
        levels: Sequence[str] = ("p2", "p3", "p4", "p5", "p6"),
        norm: bool = False,
        trainable_blocks: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.out_channels = out_channels
        self.mode, self.norm = mode, norm
        self.levels = _checked_levels(levels)
        self.sources = [name for name in self.levels if name != "p6"]
        self.layers = self._layers(layers)
        for name in self.sources:
            setattr(self, name, _level(name, backbone.embed_dim, out_channels))
        self._log()
        self.mix = nn.Parameter(torch.zeros(len(self.layers))) if mode == "weighted" else None
        prepare_encoder(backbone, self.layers, norm, trainable_blocks)

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        if self.mix is not None:
            nn.init.zeros_(self.mix)

    def _layers(self, layers: Sequence[int] | None) -> list[int]:
        depth = self.backbone.depth
        if layers is None:
            count = {"last": 1, "per_level": len(self.sources), "weighted": 4}[self.mode]
            layers = [depth - 1 - i * depth // count for i in reversed(range(count))]
        needed = {"last": 1, "per_level": len(self.sources)}.get(self.mode, len(layers))
        if len(layers) != needed or not layers:
            raise ValueError(f"layers has {len(layers)} entries, mode '{self.mode}' takes {needed or 'at least 1'}")
        return list(layers)

    def _log(self) -> None:
        """Which blocks are taken. Without memory the model is only the plan of another one, which has said it."""
        if next(self.parameters()).is_meta:
            return
        depth = self.backbone.depth
        taken = [i % depth for i in self.layers]
        again = len(set(taken)) < len(taken)
        logger.log(
            logging.WARNING if again else logging.INFO,
            "pyramid (%s) from block %s of 0..%d%s", self.mode, ", ".join(map(str, taken)), depth - 1,
            "; some are taken more than once, `layers` chooses others" if again else "",
        )  # fmt: skip

    @property
    def strides(self) -> dict[str, int]:
        """Image pixels per cell of each level."""
        return {name: int(self.backbone.patch_size / _SCALES[name]) for name in self.levels}

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each level."""
        return dict.fromkeys(self.levels, self.out_channels)

    @property
    def size_divisibility(self) -> int:
        """What image sides must be multiples of, so that every level has its exact size."""
        return max(self.backbone.patch_size, *(self.strides[name] for name in self.sources))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Pyramid of a batch.

        Args:
            images: B x 3 x H x W, normalised; H and W multiples of :attr:`size_divisibility`.

        Returns:
            Level name to B x out_channels x (H / stride) x (W / stride).
        """
        return self.from_layers(
            running(self.backbone).forward_intermediates_with_cls(images, self.layers, norm=self.norm)
        )

    def from_layers(self, layers: Sequence[Layer]) -> dict[str, Tensor]:
        """As :meth:`forward`, from the encoder's output for :attr:`layers` (class tokens are not used)."""
        return self._pyramid(layers, {})

    def _pyramid(self, layers: Sequence[Layer], finer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The levels; what ``finer`` has for one is enlarged as needed and added before its last convolution."""
        maps = [grid for grid, _ in layers]
        if self.mix is not None:
            maps = [self._mixed(maps)]
        if self.mode != "per_level":
            maps = maps * len(self.sources)
        pyramid = {}
        for name, x in zip(self.sources, maps):
            *resize, last = getattr(self, name)
            for step in resize:
                x = step(x)
            if name in finer:
                x = x + _at_size(finer[name], x)
            pyramid[name] = last(x)
        if "p6" in self.levels:
            pyramid["p6"] = F.max_pool2d(pyramid["p5"], kernel_size=1, stride=2)
        return pyramid

    def _mixed(self, maps: list[Tensor]) -> Tensor:
        """Softmax-weighted sum of maps, each brought to zero mean and unit variance per position."""
        assert self.mix is not None
        weights = self.mix.softmax(0)
        rows = [F.layer_norm(m.permute(0, 2, 3, 1), (m.shape[1],)) for m in maps]
        return torch.stack([w * r for w, r in zip(weights, rows)]).sum(0).permute(0, 3, 1, 2)


def _checked_levels(levels: Sequence[str]) -> list[str]:
    unknown = [name for name in levels if name not in _SCALES]
    if unknown or not levels:
        raise ValueError(f"levels {list(levels)}: choose some of {list(_SCALES)}")
    if "p6" in levels and "p5" not in levels:
        raise ValueError("level p6 is pooled from p5: add p5 to levels")
    return [name for name in _SCALES if name in levels]


def _at_size(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear; strides of 14-pixel patches are not whole numbers on the finer levels."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def _level(name: str, dim: int, out_channels: int) -> nn.Sequential:
    """Bring the encoder's map (dim channels) to one level's scale and channels."""

    def up(channels: int) -> nn.Module:
        return nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)

    resize: dict[str, list[nn.Module]] = {
        "p2": [up(dim), LayerNorm2d(dim // 2), nn.GELU(), up(dim // 2)],
        "p3": [up(dim)],
        "p4": [],
        "p5": [nn.MaxPool2d(kernel_size=2, stride=2)],
    }
    channels = {"p2": dim // 4, "p3": dim // 2}.get(name, dim)
    return nn.Sequential(*resize[name], ConvNorm(channels, out_channels, 1), ConvNorm(out_channels, out_channels, 3))
