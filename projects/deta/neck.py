"""The pyramid that DETA reads: three maps of the encoder's last layer, without norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.modeling.backbone import EncoderShape, PerceptionEncoder
from pe_dense.modeling.backbone.features import prepare_encoder, running


class DetaPyramid(nn.Module):
    """p3 by a transposed convolution, p4 as it is, p5 by pooling.

    Args:
        backbone: the encoder, C channels and patches of s pixels; or its shape, if it is shared with other necks and
            :meth:`from_layers` is all that is called.
        layer: 0-based block, negative ones count from the last.
        trainable_blocks: ``None`` trains the whole encoder, 0 freezes it, n trains its last n blocks.
        bf16: compute the maps in bfloat16 (autocast), whatever the precision of the rest, and give them as float32: the
            released stages 3 and 4, together with ``train.precision=fp32``.

    Attributes:
        channels: of each level: C / 2, C and C.
        strides: image pixels per cell of each level: s / 2, s and 2 s.

    Raises:
        ValueError: for a block that the encoder does not have.
    """

    norm = False

    def __init__(
        self,
        backbone: PerceptionEncoder | EncoderShape,
        layer: int = -1,
        trainable_blocks: int | None = None,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.bf16 = backbone, bf16
        self.layers = [layer]
        dim, stride = backbone.embed_dim, backbone.patch_size
        self.up = nn.ConvTranspose2d(dim, dim // 2, kernel_size=2, stride=2)
        self.channels = {"p3": dim // 2, "p4": dim, "p5": dim}
        self.strides = {"p3": stride // 2, "p4": stride, "p5": 2 * stride}
        prepare_encoder(backbone, self.layers, False, trainable_blocks)

    @property
    def size_divisibility(self) -> int:
        """What image sides must be multiples of, so that every level has its exact size."""
        return self.strides["p5"]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Pyramid of a batch.

        Args:
            images: B x 3 x H x W, normalised; H and W multiples of :attr:`size_divisibility`.

        Returns:
            Level name to B x channels x (H / stride) x (W / stride).
        """
        encoder = running(self.backbone)
        if not self.bf16:
            return self.from_layers(encoder.forward_intermediates_with_cls(images, self.layers))
        with torch.autocast(images.device.type, torch.bfloat16):
            maps = self.from_layers(encoder.forward_intermediates_with_cls(images, self.layers))
        return {name: grid.float() for name, grid in maps.items()}

    def from_layers(self, layers: Sequence[tuple[Tensor, Tensor | None]]) -> dict[str, Tensor]:
        """As :meth:`forward`, from the encoder's output for :attr:`layers` (class tokens are not used)."""
        [(grid, _)] = layers
        return {"p3": self.up(grid), "p4": grid, "p5": F.max_pool2d(grid, kernel_size=2, stride=2)}
