"""A light projection of frozen tokens, which training makes better at telling objects apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pe_dense.modeling.backbone.features import EncoderFeatures, LayerFeatures
from pe_dense.modeling.backbone.vit import PerceptionEncoder


class TokenProjection(nn.Module):
    """Every token plus what two layers make of it: x + |x| f(x / |x|), |x| the root mean square of its channels.

    The last layer begins with zeros, so that the tokens come out bit for bit as they went in until it is trained.
    Tokens twice as long come out twice as long: only their directions count in label propagation.

    Args:
        dim: C, channels of a token.
        hidden_dim: width of the hidden layer.

    Raises:
        ValueError: if a number is not positive.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("hidden_dim", hidden_dim)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, it is {value}")
        self.dim = dim
        self.hidden = nn.Linear(dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, dim)
        self.init_weights()

    def init_weights(self) -> None:
        """Zeros in the last layer."""
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Project.

        Args:
            tokens: ... x C.

        Returns:
            ... x C, of the type of ``tokens``.
        """
        length = tokens.float().square().mean(-1, keepdim=True).sqrt()
        unit = (tokens / length.clamp(min=torch.finfo(torch.float32).tiny)).to(tokens.dtype)
        added = self.out(nn.functional.gelu(self.hidden(unit)))
        return tokens + (length * added).to(tokens.dtype)


class ProjectedFeatures(EncoderFeatures):
    """One layer of a frozen encoder with a projection on top.

    Args:
        backbone: the encoder.
        projection: maps ... x C tokens to ... x C tokens.
        layers: one 0-based block, negative ones count from the last.
        norm: apply the encoder's final norm before the projection.

    Raises:
        ValueError: for several layers, a layer or norm that the encoder does not have, or a projection of another
            number of channels.
    """

    def __init__(
        self,
        backbone: PerceptionEncoder,
        projection: TokenProjection,
        layers: Sequence[int] = (-1,),
        norm: bool = False,
    ) -> None:
        super().__init__(backbone, layers, norm, trainable_blocks=0)
        if len(self.layers) != 1:
            raise ValueError(f"layers {self.layers}: a projection is learnt for the tokens of one layer, name one")
        if projection.dim != backbone.embed_dim:
            raise ValueError(
                f"the projection's dim is {projection.dim} but the encoder's tokens have {backbone.embed_dim} "
                f"channels: set projection.dim={backbone.embed_dim}"
            )
        self.projection = projection

    def from_layers(self, layers: Sequence[tuple[Tensor, Tensor | None]]) -> list[LayerFeatures]:
        """As of :class:`EncoderFeatures`, projected; class tokens stay as they are."""
        return [
            LayerFeatures(self.projection(tokens.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), cls)
            for tokens, cls in layers
        ]
