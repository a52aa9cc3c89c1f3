"""DPT: convolutions that bring four layers to four scales and join them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.modeling.backbone.features import LayerFeatures
from pe_dense.modeling.depth.decode import DepthDecoder, init_predictor
from pe_dense.modeling.depth.linear_head import class_token

Readout = Literal["project", "ignore"]


class DPTHead(nn.Module):
    """DPT (arXiv 2103.13413) as DINOv2 uses it for depth (arXiv 2304.07193, section 7.4).

    Each of four layers is projected, brought to 4, 2, 1 and 1/2 times the token grid, and fused from the coarsest to
    the finest; the last two convolutions follow at 8 and 16 times the grid. Two steps are reordered without changing
    the values: the class token is projected once per image, and a fusion's 1 x 1 convolution comes before its
    upsampling. Grids with an odd side are fused at the size of the finer map (DINOv2 resizes the finer map instead).

    Args:
        in_channels: C, channels of each layer.
        decoder: makes depth of the last channels.
        channels: of the fusion; ``None`` takes C / 12, at least 32, so that the head grows with the encoder. DINOv2:
            256 for all, several times the cost.
        widths: channels of the four scales, finest first; ``None`` takes C / 8, C / 4, C / 2 and C.
        readout: "project" joins the class token to every patch by a linear layer, "ignore" leaves it out.

    Raises:
        ValueError: for another number of widths, or an unknown readout.
    """

    def __init__(
        self,
        in_channels: int,
        decoder: DepthDecoder,
        channels: int | None = None,
        widths: Sequence[int] | None = None,
        readout: Readout = "project",
    ) -> None:
        super().__init__()
        channels = channels or max(32, in_channels // 96 * 8)
        widths = [in_channels // 8, in_channels // 4, in_channels // 2, in_channels] if widths is None else widths
        if len(widths) != 4:
            raise ValueError(f"widths has {len(widths)} entries, a DPT head has four scales")
        if readout not in ("project", "ignore"):
            raise ValueError(f'readout "{readout}" is unknown: choose project or ignore')
        self.decoder = decoder
        self.stages = nn.ModuleList(
            Reassemble(in_channels, width, channels, scale, readout == "project")
            for width, scale in zip(widths, (4.0, 2.0, 1.0, 0.5))
        )
        self.fusions = nn.ModuleList(Fusion(channels, lateral=i < 3) for i in range(4))
        self.project = nn.Conv2d(channels, channels, 3, padding=1)
        self.narrow = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.refine = nn.Conv2d(channels // 2, 32, 3, padding=1)
        self.predictor = nn.Conv2d(32, decoder.channels, 1)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        init_predictor(self.predictor, self.decoder)

    def forward(self, features: Sequence[LayerFeatures]) -> Tensor:
        """Depth at 16 times the resolution of the layers.

        Args:
            features: four layers, shallowest first, or one that is used four times.

        Returns:
            B x 1 x 16h x 16w, float32.

        Raises:
            ValueError: for another number of layers, or if there is no class token to use.
        """
        if len(features) not in (1, 4):
            raise ValueError(f"a DPT head takes one layer or four, the backbone gives {len(features)}: set its layers")
        layers = list(features) * (4 // len(features))
        maps = [stage(layer) for stage, layer in zip(self.stages, layers)]
        sizes = [m.shape[-2:] for m in maps]
        x = self.fusions[3](maps[3], None, sizes[2])
        for i in (2, 1):
            x = self.fusions[i](x, maps[i], sizes[i - 1])
        x = self.fusions[0](x, maps[0], [2 * side for side in sizes[0]])
        x = self.narrow(self.project(x).relu_())
        x = self.refine(_enlarged(x, [2 * int(side) for side in x.shape[-2:]])).relu_()
        depth: Tensor = self.decoder(self.predictor(x))
        return depth


class Reassemble(nn.Module):
    """One layer as one scale of the head.

    Args:
        in_channels: C.
        width: channels at the new scale.
        channels: of the result.
        scale: 4, 2, 1 or 1/2 of the token grid.
        use_cls: join the class token to the patches.
    """

    def __init__(self, in_channels: int, width: int, channels: int, scale: float, use_cls: bool) -> None:
        super().__init__()
        self.readout = nn.Linear(2 * in_channels, in_channels) if use_cls else None
        self.width = nn.Linear(in_channels, width)
        self.resize: nn.Module = nn.Identity()
        if scale > 1:
            self.resize = nn.ConvTranspose2d(width, width, int(scale), stride=int(scale))
        elif scale < 1:
            self.resize = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.out = nn.Conv2d(width, channels, 3, padding=1, bias=False)

    def forward(self, layer: LayerFeatures) -> Tensor:
        """B x C x h x w to B x channels x (scale h) x (scale w), rounded up."""
        x = layer.map.permute(0, 2, 3, 1)
        if self.readout is not None:
            patch, cls = self.readout.weight.chunk(2, dim=1)
            token = F.linear(class_token(layer, 'readout="ignore"'), cls, self.readout.bias)
            x = F.gelu(F.linear(x, patch) + token[:, None, None])
        # contiguous: on CPUs, weight gradients of convolutions are several times slower with the channels last
        out: Tensor = self.out(self.resize(self.width(x).permute(0, 3, 1, 2).contiguous()))
        return out


class Fusion(nn.Module):
    """Add a map of the same scale, then go to the next finer one.

    Args:
        channels: of all maps.
        lateral: whether there is a map to add.
    """

    def __init__(self, channels: int, lateral: bool) -> None:
        super().__init__()
        self.lateral = ResidualUnit(channels) if lateral else None
        self.unit = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, finer: Tensor | None, size: Sequence[int]) -> Tensor:
        """B x channels x h x w maps to B x channels x size."""
        if self.lateral is not None:
            x = x + self.lateral(finer)
        return _enlarged(self.project(self.unit(x)), size)


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions, each after a ReLU, added to their input; no norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B x channels x h x w to the same shape."""
        return x + self.conv2(self.conv1(x.relu()).relu_())


def _enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, [int(side) for side in size], mode="bilinear", align_corners=True)
