"""Maps of chosen layers of the encoder, for heads that need no pyramid, and what every user of layers prepares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from pe_dense.modeling.backbone.encoder_shape import EncoderShape
from pe_dense.modeling.backbone.vit import PerceptionEncoder


class LayerFeatures(NamedTuple):
    """What one layer gives.

    Attributes:
        map: B x C x h x w, the patch tokens.
        cls: B x C, the class token; None if the encoder has none.
    """

    map: Tensor
    cls: Tensor | None


class EncoderFeatures(nn.Module):
    """The encoder's layers as they are. Parts that the chosen layers do not need do not train.

    Args:
        backbone: the encoder; or its shape, if it is shared with other necks and :meth:`from_layers` is all that is
            called.
        layers: 0-based blocks, negative ones count from the last; ``None`` is the last block.
        norm: apply the encoder's final norm to the maps and class tokens (Core towers have one).
        trainable_blocks: ``None`` trains the whole encoder, 0 freezes it, n trains its last n blocks.

    Attributes:
        layers: the blocks taken.
        embed_dim: C, the channels of each map.
        stride: image pixels per cell of the maps.

    Raises:
        ValueError: for no layers, one the encoder does not have, or a norm it does not have.
    """

    def __init__(
        self,
        backbone: PerceptionEncoder | EncoderShape,
        layers: Sequence[int] | None = None,
        norm: bool = False,
        trainable_blocks: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = [backbone.depth - 1] if layers is None else list(layers)
        self.norm = norm
        if not self.layers:
            raise ValueError("layers is empty: name at least one block, or leave it out for the last")
        prepare_encoder(backbone, self.layers, norm, trainable_blocks)

    @property
    def embed_dim(self) -> int:
        """Channels of each map."""
        return self.backbone.embed_dim

    @property
    def stride(self) -> int:
        """Image pixels per cell of the maps."""
        return self.backbone.patch_size

    @property
    def size_divisibility(self) -> int:
        """What image sides must be multiples of."""
        return self.backbone.patch_size

    def forward(self, images: Tensor) -> list[LayerFeatures]:
        """Features of a batch.

        Args:
            images: B x 3 x H x W, normalised; H and W multiples of :attr:`size_divisibility`.

        Returns:
            One entry per layer, in the order of :attr:`layers`.
        """
        return self.from_layers(
            running(self.backbone).forward_intermediates_with_cls(images, self.layers, norm=self.norm)
        )

    def from_layers(self, layers: Sequence[tuple[Tensor, Tensor | None]]) -> list[LayerFeatures]:
        """As :meth:`forward`, from the encoder's output for :attr:`layers`."""
        return [LayerFeatures(*layer) for layer in layers]


def block_numbers(encoder: PerceptionEncoder | EncoderShape, layers: Sequence[int]) -> list[int]:
    """The 0-based blocks that layers mean, which may count from the last.

    Raises:
        ValueError: for a layer that the encoder does not have.
    """
    outside = [i for i in layers if not -encoder.depth <= i < encoder.depth]
    if outside:
        raise ValueError(
            f"layers {list(layers)}: the encoder has blocks 0..{encoder.depth - 1} (-1 is the last), {outside[0]} is "
            f"none of them"
        )
    return [i % encoder.depth for i in layers]


def prepare_encoder(
    encoder: PerceptionEncoder | EncoderShape, layers: Sequence[int], norm: bool, trainable_blocks: int | None
) -> None:
    """Freeze what is asked for, and what the maps of ``layers`` do not pass through: that gets no gradient, which
    several processes would wait for.

    Raises:
        ValueError: for a layer or a norm that the encoder does not have.
    """
    taken = block_numbers(encoder, layers)
    if norm and not isinstance(encoder.ln_post, nn.LayerNorm):
        raise ValueError("norm=True, but this encoder has no final norm; build a PE-Core tower with ln_post=True")
    if trainable_blocks is not None:
        encoder.freeze(trainable_blocks)
    if isinstance(encoder, EncoderShape):
        return  # other necks may need what this one does not
    unused = [*encoder.blocks[max(taken) + 1 :], encoder.attn_pool, encoder.proj, None if norm else encoder.ln_post]
    for part in unused:
        if part is not None:
            part.requires_grad_(False)


def running(encoder: PerceptionEncoder | EncoderShape) -> PerceptionEncoder:
    """The encoder of a neck that is to see images.

    Raises:
        RuntimeError: if the neck was built on a shape.
    """
    if isinstance(encoder, EncoderShape):
        raise RuntimeError("this neck was built on an EncoderShape: run the shared encoder and call from_layers")
    return encoder


def covered_cells(neck: Any, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of a neck's maps that an image of this (height, width) covers, at least in part."""
    return -(-size[0] // neck.stride), -(-size[1] // neck.stride)


def covered_size(neck: Any, features: Any) -> tuple[int, int]:
    """(height, width) in image pixels of the padded batch that features come from.

    Args:
        neck: an :class:`EncoderFeatures`, or a pyramid with ``strides``.
        features: what it made of the batch.
    """
    if isinstance(features, dict):
        name, grid = next(iter(features.items()))
        stride = neck.strides[name]
    else:
        grid, stride = features[0].map, neck.stride
    return int(grid.shape[-2]) * stride, int(grid.shape[-1]) * stride
