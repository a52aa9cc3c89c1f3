"""Segmenters as plain functions that fill in the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from pe_dense.layers.batch_norm import BatchNormKind
from pe_dense.modeling.backbone.features import EncoderFeatures
from pe_dense.modeling.backbone.pyramid import FeaturePyramid
from pe_dense.modeling.segmentation.inference import SegInference
from pe_dense.modeling.segmentation.linear_head import LinearSegHead
from pe_dense.modeling.segmentation.pyramid_head import PyramidSegHead
from pe_dense.modeling.segmentation.segmenter import SemanticSegmenter


def build_linear_segmenter(
    backbone: EncoderFeatures,
    num_classes: int,
    norm: BatchNormKind | None = "sync_bn",
    dropout: float = 0.0,
    class_weights: Sequence[float] | None = None,
    inference: SegInference | None = None,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
) -> SemanticSegmenter:
    """A linear head on one or several layers of the encoder.

    Args:
        backbone: the layers; several are laid over each other.
        num_classes: K.
        norm, dropout: see :class:`LinearSegHead`.
        class_weights, inference, pixel_mean, pixel_std: see :class:`SemanticSegmenter`.
    """
    head = LinearSegHead(backbone.embed_dim * len(backbone.layers), num_classes, norm, dropout)
    return SemanticSegmenter(backbone, head, num_classes, class_weights, inference, pixel_mean, pixel_std)


def build_pyramid_segmenter(
    backbone: FeaturePyramid,
    num_classes: int,
    dropout: float = 0.1,
    class_weights: Sequence[float] | None = None,
    inference: SegInference | None = None,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
) -> SemanticSegmenter:
    """:class:`PyramidSegHead` on all levels of a pyramid but p6, which only repeats p5.

    Args:
        backbone: the pyramid; its ``out_channels`` are the head's too.
        num_classes: K.
        dropout: see :class:`PyramidSegHead`.
        class_weights, inference, pixel_mean, pixel_std: see :class:`SemanticSegmenter`.
    """
    head = PyramidSegHead(backbone.out_channels, num_classes, backbone.sources, dropout=dropout)
    return SemanticSegmenter(backbone, head, num_classes, class_weights, inference, pixel_mean, pixel_std)
