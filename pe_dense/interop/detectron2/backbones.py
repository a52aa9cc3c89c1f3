"""The encoder and the pyramid as backbones of detectron2's models."""

from __future__ import annotations

import re

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor

from pe_dense.interop.detectron2.state_names import Convert, convert_state
from pe_dense.modeling.backbone import EncoderFeatures, FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection.released import COMPUTED

Renames = tuple[tuple[str, str], ...]  # beginnings of names, as regular expressions and what takes their place

_POSITIONS = "positional_embedding"  # 1 x N x C in detectron2's layout, N x C here


class PyramidBackbone(Backbone):
    """A pyramid with its encoder, for detectron2's R-CNNs and whatever else takes an FPN.

    Checkpoints have the names of ViTDet's ``SimpleFeaturePyramid`` (``net``, ``simfp_2``, ...), so that
    ``DetectionCheckpointer`` reads Meta's released Mask R-CNNs and what ``tools/convert_checkpoint.py --layout
    detectron2`` writes.

    Args:
        pyramid: takes images in RGB; set ``pixel_mean``, ``pixel_std`` and ``input_format`` of the model accordingly.
        square_size: pixels of the square that detectron2 pads every batch to, which no image may exceed; 0 pads to the
            largest image of a batch.
    """

    def __init__(self, pyramid: FeaturePyramid, square_size: int = 0) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.square_size = square_size
        convert_state(
            self,
            _to_theirs(((r"pyramid\.backbone\.", "net."), (r"pyramid\.p(\d)\.", r"simfp_\1."), (r"pyramid\.", ""))),
            _to_ours(((r"net\.", "pyramid.backbone."), (r"simfp_(\d)\.", r"pyramid.p\1."), ("", "pyramid."))),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level name to B x C x (H / stride) x (W / stride), from a B x 3 x H x W normalised batch."""
        return self.pyramid(images)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each level."""
        channels, strides = self.pyramid.channels, self.pyramid.strides
        return {name: ShapeSpec(channels=channels[name], stride=strides[name]) for name in self.pyramid.levels}

    @property
    def size_divisibility(self) -> int:
        """What detectron2 makes the sides of a batch multiples of."""
        return self.pyramid.size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """How detectron2 pads a batch."""
        return {"size_divisibility": self.size_divisibility, "square_size": self.square_size}


class EncoderBackbone(Backbone):
    """The encoder alone, one map of one scale, where detectron2 has its ``ViT``: for its ``SimpleFeaturePyramid``.

    Checkpoints have the encoder's own names, without a prefix, as in :class:`PyramidBackbone`.

    Args:
        encoder: takes images in RGB.
        layer: the block whose map is given out; negative ones count from the last.
        norm: apply the encoder's final norm (Core towers have one).
        trainable_blocks: ``None`` trains the whole encoder, 0 freezes it, n trains its last n blocks.
        out_feature: name of the map.
        square_size: see :class:`PyramidBackbone`; a pyramid on top has its own.
    """

    def __init__(
        self,
        encoder: PerceptionEncoder,
        layer: int = -1,
        norm: bool = False,
        trainable_blocks: int | None = None,
        out_feature: str = "last_feat",
        square_size: int = 0,
    ) -> None:
        super().__init__()
        self.features = EncoderFeatures(encoder, [layer], norm, trainable_blocks)
        self.out_feature = out_feature
        self.square_size = square_size
        convert_state(self, _to_theirs(((r"features\.backbone\.", ""),)), _to_ours((("", "features.backbone."),)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """One B x C x (H / patch) x (W / patch) map from a B x 3 x H x W normalised batch."""
        return {self.out_feature: self.features(images)[0].map}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of the map."""
        return {self.out_feature: ShapeSpec(channels=self.features.embed_dim, stride=self.features.stride)}

    @property
    def size_divisibility(self) -> int:
        """What detectron2 makes the sides of a batch multiples of."""
        return self.features.size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """How detectron2 pads a batch."""
        return {"size_divisibility": self.size_divisibility, "square_size": self.square_size}


def _to_theirs(renames: Renames) -> Convert:
    def write(name: str, value: Tensor) -> tuple[str, Tensor]:
        return _renamed(name, renames), value[None] if name.endswith(_POSITIONS) else value

    return write


def _to_ours(renames: Renames) -> Convert:
    """Rotary tables, which are computed here, are left out."""

    def read(name: str, value: Tensor) -> tuple[str, Tensor] | None:
        if COMPUTED.search(f".{name}"):
            return None
        return _renamed(name, renames), value.flatten(0, -2) if name.endswith(_POSITIONS) else value

    return read


def _renamed(name: str, renames: Renames) -> str:
    for pattern, target in renames:
        if re.match(pattern, name):
            return re.sub(rf"^{pattern}", target, name)
    return name
