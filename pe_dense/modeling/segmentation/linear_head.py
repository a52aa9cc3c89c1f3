"""The head of the linear protocols."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pe_dense.layers.batch_norm import BatchNorm, BatchNormKind
from pe_dense.modeling.backbone.features import LayerFeatures


class LinearSegHead(nn.Module):
    """Batch normalisation and a 1 x 1 convolution on one layer, or on several laid over each other (DINOv2, arXiv
    2304.07193, section 7.4; the Perception Encoder's own probe, arXiv 2504.13181, appendix B.3.3). Class tokens are
    not used.

    Args:
        in_channels: channels of all layers together.
        num_classes: K.
        norm: normalisation before the convolution, see :class:`BatchNorm`; ``None`` for none.
        dropout: probability of dropping a channel of an image in training.
    """

    def __init__(
        self, in_channels: int, num_classes: int, norm: BatchNormKind | None = "sync_bn", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.in_channels, self.num_classes = in_channels, num_classes
        self.norm = nn.Identity() if norm is None else BatchNorm(in_channels, norm)
        self.dropout = nn.Dropout2d(dropout)
        self.predictor = nn.Conv2d(in_channels, num_classes, 1)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, features: Sequence[LayerFeatures]) -> Tensor:
        """Logits of each class at the resolution of the layers.

        Args:
            features: layers whose maps have ``in_channels`` channels together.

        Returns:
            B x K x h x w.
        """
        x = features[0].map if len(features) == 1 else torch.cat([layer.map for layer in features], dim=1)
        return self.predictor(self.dropout(self.norm(x)))
