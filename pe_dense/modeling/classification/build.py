"""Classifiers as plain functions that fill in the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pe_dense.modeling.backbone.features import EncoderFeatures
from pe_dense.modeling.classification.classifier import ImageClassifier
from pe_dense.modeling.classification.pooling import Pooling


def build_linear_classifier(
    backbone: EncoderFeatures,
    num_classes: int,
    pooling: Pooling = "cls",
    norm: bool = True,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
) -> ImageClassifier:
    """A linear classifier on one layer of the encoder.

    Args:
        backbone: the layer.
        num_classes: K.
        pooling: what the head sees: ``cls``, ``mean`` or ``cls_mean``.
        norm: normalise the features over the batch, without learned factors (arXiv 2111.06377, appendix A): layers
            whose features differ in scale then learn at the same rate.
        pixel_mean, pixel_std: see :class:`ImageClassifier`.

    Raises:
        ValueError: for a neck with several layers.
    """
    if len(backbone.layers) != 1:
        raise ValueError(f"a linear classifier takes one layer, not {len(backbone.layers)}: set the backbone's layers")
    channels = backbone.embed_dim * (2 if pooling == "cls_mean" else 1)
    linear = nn.Linear(channels, num_classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    head = nn.Sequential(nn.BatchNorm1d(channels, affine=False, eps=1e-6), linear) if norm else linear
    return ImageClassifier(backbone, head, num_classes, pooling, pixel_mean, pixel_std)
