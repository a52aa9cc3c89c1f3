"""Convolution followed by channel LayerNorm."""

from __future__ import annotations

from torch import Tensor, nn

from pe_dense.layers.layer_norm2d import LayerNorm2d


class ConvNorm(nn.Conv2d):
    """Bias-free convolution with "same" padding, then :class:`LayerNorm2d`; no activation.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        kernel_size: odd side of the kernel.
        stride: cells from one output to the next.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
        self.norm = LayerNorm2d(out_channels)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """B x in_channels x H x W to B x out_channels x (H / stride) x (W / stride), rounded up."""
        return self.norm(super().forward(x))
