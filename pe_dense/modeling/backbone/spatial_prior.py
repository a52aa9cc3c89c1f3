"""A feature pyramid that also sees the image itself, through a small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from torch import Tensor, nn

from pe_dense.layers.conv_norm import ConvNorm
from pe_dense.layers.layer_norm2d import LayerNorm2d
from pe_dense.modeling.backbone.encoder_shape import EncoderShape
from pe_dense.modeling.backbone.features import running
from pe_dense.modeling.backbone.pyramid import FeaturePyramid, Layer, PyramidMode
from pe_dense.modeling.backbone.vit import PerceptionEncoder


class SpatialPriorPyramid(FeaturePyramid):
    """:class:`FeaturePyramid` with the spatial prior of ViT-Adapter (arXiv 2205.08534, section 3.3): a convolutional
    stem sees the image at the pyramid's strides, and each level is the sum of both.

    The pyramid enlarges cells of a patch each, so it must guess what lies within one. The prior knows edges and small
    shapes, which matters for thin things, for frozen encoders, and most for encoders that learn from random weights.
    It is added before a level's last convolution. ViT-Adapter also feeds the prior into the encoder; here the encoder
    stays as it is.

    Args:
        backbone: the encoder itself; its shape does not do, as the prior needs the image.
        out_channels, mode, layers, levels, norm, trainable_blocks: see :class:`FeaturePyramid`.
        prior_channels: channels C of the prior where it is finest; coarser maps have 2 C, then 4 C.
        prior_stride: image pixels per cell where the prior is finest; ``None``: those of the finest level. Finer ones
            tell small shapes apart that the levels need not resolve.

    Raises:
        ValueError: as :class:`FeaturePyramid`, for an :class:`EncoderShape`, and for a ``prior_stride`` whose doubling
            does not lead to the finest level's.
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
        prior_channels: int = 64,
        prior_stride: int | None = None,
    ) -> None:
        if isinstance(backbone, EncoderShape):
            raise ValueError(
                "SpatialPriorPyramid needs the image, but a neck on an EncoderShape is only given layers: use "
                "FeaturePyramid where tasks share an encoder"
            )
        super().__init__(backbone, out_channels, mode, layers, levels, norm, trainable_blocks)
        strides = [self.strides[name] for name in self.sources]
        self.prior = SpatialPrior(strides, prior_channels, out_channels, prior_stride)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Pyramid of a batch, see :meth:`FeaturePyramid.forward`."""
        layers = running(self.backbone).forward_intermediates_with_cls(images, self.layers, norm=self.norm)
        return self._pyramid(layers, dict(zip(self.sources, self.prior(images))))

    def from_layers(self, layers: Sequence[Layer]) -> NoReturn:
        """Layers are not enough.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("SpatialPriorPyramid needs the image and not only the encoder's layers: use FeaturePyramid")


class SpatialPrior(nn.Module):
    """Convolutions on the image, one map per stride.

    Args:
        strides: of the maps, finest first.
        channels: C of the finest map inside; coarser ones have 2 C, then 4 C.
        out_channels: of every map that is given out.
        first: stride of the finest map inside; ``None``: that of the finest one given out.

    Raises:
        ValueError: for a ``first`` whose doubling does not lead to the first of ``strides``.
    """

    def __init__(self, strides: Sequence[int], channels: int, out_channels: int, first: int | None = None) -> None:
        super().__init__()
        first = first or strides[0]
        if strides[0] not in {first << i for i in range(8)}:
            raise ValueError(f"prior_stride {first}: doubling it does not lead to the finest level's {strides[0]}")
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, kernel_size=first, stride=first), LayerNorm2d(channels), nn.GELU()
        )
        halvings = [(stride // first).bit_length() - 1 for stride in strides]  # 14-pixel patches: 3, 7, 14, 28
        widths = [channels * min(2**i, 4) for i in range(halvings[-1] + 1)]
        self.stages = nn.ModuleList(
            nn.Sequential(*_convolution(widths[max(i - 1, 0)], width, 2 if i else 1), *_convolution(width, width, 1))
            for i, width in enumerate(widths)
        )
        self.out = nn.ModuleDict({str(i): nn.Conv2d(widths[i], out_channels, 1) for i in halvings})

    def forward(self, images: Tensor) -> list[Tensor]:
        """B x 3 x H x W images to a B x out_channels x (H / stride) x (W / stride) map for each stride (rounded)."""
        x, maps = self.stem(images), []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if str(i) in self.out:
                maps.append(self.out[str(i)](x))
        return maps


def _convolution(in_channels: int, out_channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return ConvNorm(in_channels, out_channels, 3, stride), nn.GELU()
