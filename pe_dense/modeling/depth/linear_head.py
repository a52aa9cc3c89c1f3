"""The head of the linear protocols."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.layers.batch_norm import BatchNorm, BatchNormKind
from pe_dense.modeling.backbone.features import LayerFeatures
from pe_dense.modeling.depth.decode import DepthDecoder, init_predictor


class LinearDepthHead(nn.Module):
    """One 1 x 1 convolution on one layer, or on several laid over each other.

    DINOv2 (arXiv 2304.07193, section 7.4): class token concatenated, features upsampled four times, no norm; DINOv3:
    neither, but with a norm. The class token is the same at all positions and the upsampling keeps means, so that here
    the token is projected once per image and the bins' logits are upsampled instead of the features: the same values.

    Args:
        in_channels: channels of all layers together.
        decoder: makes depth of the convolution's channels.
        use_cls: concatenate each layer's class token to its patches; Spatial-G and Core-G have none.
        upsample: by how much the map is enlarged, bilinearly, before it is decoded.
        norm: normalisation of the patches before the convolution, see :class:`BatchNorm`; ``None`` for none.
    """

    def __init__(
        self,
        in_channels: int,
        decoder: DepthDecoder,
        use_cls: bool = True,
        upsample: int = 4,
        norm: BatchNormKind | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self.upsample = decoder, upsample
        self.norm = nn.Identity() if norm is None else BatchNorm(in_channels, norm)
        self.predictor = nn.Conv2d(in_channels, decoder.channels, 1)
        self.cls_predictor = nn.Linear(in_channels, decoder.channels, bias=False) if use_cls else None
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        init_predictor(self.predictor, self.decoder)
        if self.cls_predictor is not None:
            nn.init.normal_(self.cls_predictor.weight, std=0.01)

    def forward(self, features: Sequence[LayerFeatures]) -> Tensor:
        """Depth at the resolution of the layers times ``upsample``.

        Args:
            features: layers whose maps have ``in_channels`` channels together.

        Returns:
            B x 1 x h x w, float32.

        Raises:
            ValueError: if there is no class token to use.
        """
        x = features[0].map if len(features) == 1 else torch.cat([layer.map for layer in features], dim=1)
        raw = self.predictor(self.norm(x))
        if self.cls_predictor is not None:
            tokens = torch.cat([class_token(layer, "use_cls=False") for layer in features], dim=1)
            raw = raw + self.cls_predictor(tokens)[:, :, None, None]
        if self.upsample > 1:
            raw = F.interpolate(raw, scale_factor=self.upsample, mode="bilinear", align_corners=False)
        depth: Tensor = self.decoder(raw)
        return depth


def class_token(layer: LayerFeatures, remedy: str) -> Tensor:
    """A layer's class token, B x C.

    Raises:
        ValueError: if it has none.
    """
    if layer.cls is None:
        raise ValueError(f"the depth head uses the class token but this encoder has none: set {remedy}")
    return layer.cls
