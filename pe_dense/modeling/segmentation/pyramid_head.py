"""The head for fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.layers.conv_norm import ConvNorm
from pe_dense.layers.layer_norm2d import LayerNorm2d


class PyramidSegHead(nn.Module):
    """UPerNet (arXiv 1807.10221) on the simple feature pyramid: pooled context on the coarsest level, a top-down
    pathway, and all levels fused at the finest one's resolution.

    Why this one: it is the decoder that plain vision transformers are fine-tuned with on ADE20K (BEiT, arXiv
    2106.08254; MAE, arXiv 2111.06377), it is made of convolutions, pooling and resizing alone (mask classification,
    arXiv 2112.01527, needs a compiled deformable attention and a matching), and its loss is a plain cross-entropy.
    Where it departs from UPerNet it is for less work at the same function, or for small batches:

    - the pyramid's own convolutions are the lateral ones;
    - levels are fused by 1 x 1 convolutions before they are enlarged (a convolution of stacked levels, as the all-MLP
      decoder of SegFormer has it, arXiv 2105.15203, commutes with enlarging them) instead of a 3 x 3 convolution of all
      levels at full resolution, which would be the most expensive part of the model;
    - layer instead of batch normalisation, as in the pyramid: it is the same for every number of images and processes;
    - no auxiliary head: the encoder is pretrained, and every level reaches the loss in a few convolutions.

    Args:
        in_channels: C of every level, and of the head.
        num_classes: K.
        levels: those of the pyramid to use, finest first.
        pool_sizes: sides of the grids that the coarsest level is averaged on.
        dropout: probability of dropping a channel of an image in training.

    Raises:
        ValueError: for no level.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        levels: Sequence[str] = ("p2", "p3", "p4", "p5"),
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not levels:
            raise ValueError("levels is empty: name the levels of the pyramid to use, finest first")
        self.num_classes = num_classes
        self.levels, self.pool_sizes = list(levels), list(pool_sizes)
        self.pools = nn.ModuleList(ConvNorm(in_channels, in_channels, 1) for _ in pool_sizes)
        self.context = ConvNorm(in_channels * (1 + len(self.pools)), in_channels, 3)
        self.smooth = nn.ModuleDict({name: ConvNorm(in_channels, in_channels, 3) for name in self.levels[:-1]})
        self.fuse = nn.ModuleDict({name: nn.Conv2d(in_channels, in_channels, 1, bias=False) for name in self.levels})
        self.norm = LayerNorm2d(in_channels)
        self.dropout = nn.Dropout2d(dropout)
        self.predictor = nn.Conv2d(in_channels, num_classes, 1)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits of each class at the resolution of the finest level.

        Args:
            features: level name to B x C x h x w.

        Returns:
            B x K x h x w.
        """
        *finer, coarsest = self.levels
        x = self._with_context(features[coarsest])
        fused = self.fuse[coarsest](x)
        for name in reversed(finer):
            x = features[name] + _enlarge(x, features[name])
            fused = self.fuse[name](F.gelu(self.smooth[name](x))) + _enlarge(fused, x)
        return self.predictor(self.dropout(F.gelu(self.norm(fused))))

    def _with_context(self, x: Tensor) -> Tensor:
        """B x C x h x w with averages over ever larger parts of the image mixed in: the same shape."""
        pooled = [
            _enlarge(F.gelu(conv(F.adaptive_avg_pool2d(x, size))), x) for conv, size in zip(self.pools, self.pool_sizes)
        ]
        return F.gelu(self.context(torch.cat([x, *pooled], dim=1)))


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
