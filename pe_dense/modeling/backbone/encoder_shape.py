"""A stand-in for an encoder that several necks share."""

from __future__ import annotations

from torch import nn

from pe_dense.modeling.backbone.vit import PerceptionEncoder


class EncoderShape(nn.Module):
    """What a neck needs to know of an encoder when it is built, without the encoder.

    It has no parameters and cannot be run: several necks and heads are built on it, whoever holds them runs the one
    encoder and hands each neck its layers (``neck.from_layers``), and no state dict holds the encoder more than once.

    Args:
        embed_dim: C, channels of every token.
        depth: number of blocks.
        patch_size: pixels along a patch's side.
        final_norm: whether the encoder ends with a norm (Core towers).

    Attributes:
        trainable_blocks: what a neck asked for; whoever holds the encoder decides. ``None``: nothing was asked for.
    """

    def __init__(self, embed_dim: int, depth: int, patch_size: int = 16, final_norm: bool = False) -> None:
        super().__init__()
        self.embed_dim, self.depth, self.patch_size = embed_dim, depth, patch_size
        self.ln_post = nn.LayerNorm(embed_dim, elementwise_affine=False) if final_norm else nn.Identity()
        self.trainable_blocks: int | None = None

    @classmethod
    def of(cls, encoder: PerceptionEncoder) -> EncoderShape:
        """The shape of an encoder."""
        return cls(encoder.embed_dim, encoder.depth, encoder.patch_size, isinstance(encoder.ln_post, nn.LayerNorm))

    def freeze(self, trainable_blocks: int = 0) -> None:
        """Note what a neck asks for."""
        self.trainable_blocks = trainable_blocks
