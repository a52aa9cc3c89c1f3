"""Ways to draw the features of one layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from torch import Tensor

from pe_dense.prediction.encoder_view import EncoderView
from pe_dense.visualization import FeatureClusters, FeatureColors, overlay_sem_seg
from pe_dense.visualization.features import blended, cosine_map, overlay_heat

Fit = Literal["set", "image"]


class Seen(NamedTuple):
    """One image or frame, and what the encoder makes of it.

    Attributes:
        name: for titles.
        picture: H x W x 3 uint8 RGB, as the encoder sees it.
        features: C x h x w of each layer.
        foreground: h x w bool, ``None`` for everything.
    """

    name: str
    picture: np.ndarray
    features: list[Tensor]
    foreground: np.ndarray | None = None


class Painter(ABC):
    """Draws any layer of images, after it has seen those that belong together."""

    @abstractmethod
    def fit(self, seen: Sequence[Seen]) -> None:
        """Prepare for images; the first one is where a point lies."""

    @abstractmethod
    def paint(self, seen: Seen, layer: int) -> np.ndarray:
        """H x W x 3 uint8 RGB of layer number ``layer`` of those given, of the picture's size."""


class PcaPainter(Painter):
    """Principal components as lightness, chroma and hue.

    Args:
        fit: one set of colours for all images, which makes them comparable, or each image its own.
    """

    def __init__(self, fit: Fit = "set") -> None:
        self.by_image = fit == "image"
        self.colors: list[FeatureColors] = []

    def fit(self, seen: Sequence[Seen]) -> None:
        """Find the components of each layer."""
        if not self.by_image:
            self.colors = [self._colors(seen, layer) for layer in range(len(seen[0].features))]

    def paint(self, seen: Seen, layer: int) -> np.ndarray:
        """The components; black outside the foreground."""
        colors = self._colors([seen], layer) if self.by_image else self.colors[layer]
        small = colors(blended(seen.features[layer]), seen.foreground)
        return cv2.resize(small, seen.picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)

    @staticmethod
    def _colors(seen: Sequence[Seen], layer: int) -> FeatureColors:
        masks = [np.ones(s.features[layer].shape[1:], bool) if s.foreground is None else s.foreground for s in seen]
        return FeatureColors.fit([blended(s.features[layer]) for s in seen], masks, space="lch")


class SimilarityPainter(Painter):
    """Cosine similarity to one point of the first image: 0 and less is blue, 1 is red.

    Args:
        point: (x, y) as shares of the image's sides.
    """

    def __init__(self, point: tuple[float, float]) -> None:
        self.point = point
        self.vectors: list[Tensor] = []
        self.first: np.ndarray | None = None

    def fit(self, seen: Sequence[Seen]) -> None:
        """Take the features at the point."""
        self.first = seen[0].picture
        self.vectors = [f[:, row, column] for f in seen[0].features for row, column in [cell_at(f, self.point)]]

    def paint(self, seen: Seen, layer: int) -> np.ndarray:
        """The similarity over the picture, with the point marked in the first one."""
        mark = _pixel(seen.picture, self.point) if seen.picture is self.first else None
        return overlay_heat(seen.picture, cosine_map(seen.features[layer], self.vectors[layer]), 0, 1, mark)


class ClusterPainter(Painter):
    """k-means clusters of all images together.

    Args:
        number: of clusters.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.clusters: list[FeatureClusters] = []

    def fit(self, seen: Sequence[Seen]) -> None:
        """Cluster each layer."""
        layers = range(len(seen[0].features))
        self.clusters = [FeatureClusters([s.features[layer] for s in seen], self.number) for layer in layers]

    def paint(self, seen: Seen, layer: int) -> np.ndarray:
        """The clusters' colours over the picture."""
        labels = self.clusters[layer](seen.features[layer]).numpy().astype(np.uint8)
        size = seen.picture.shape[1::-1]
        large = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        return overlay_sem_seg(seen.picture, large, legend=False, min_side=1)


class AttentionPainter(Painter):
    """What one token attends to; the strongest of each picture is red.

    Args:
        view: the encoder.
        layers: its blocks.
        point: (x, y) of the patch as shares of the image's sides, ``None`` for the class token.
        head: ``None`` averages over the heads.

    Raises:
        ValueError: for a head that the encoder does not have.
    """

    def __init__(
        self, view: EncoderView, layers: Sequence[int], point: tuple[float, float] | None, head: int | None = None
    ) -> None:
        heads = view.encoder.num_heads
        if head is not None and not 0 <= head < heads:
            raise ValueError(f"head {head}: the encoder has heads 0..{heads - 1}")
        self.view, self.layers, self.point, self.head = view, list(layers), point, head

    def fit(self, seen: Sequence[Seen]) -> None:
        """Nothing: attention is computed for each picture."""

    def paint(self, seen: Seen, layer: int) -> np.ndarray:
        """The attention over the picture, with the patch marked."""
        cell = None if self.point is None else cell_at(seen.features[layer], self.point)
        heads = self.view.attention(seen.picture, self.layers[layer], cell)
        weights = heads.mean(0) if self.head is None else heads[self.head]
        mark = None if self.point is None else _pixel(seen.picture, self.point)
        return overlay_heat(seen.picture, weights, 0, float(weights.max()), mark, colormap="inferno")


def cell_at(features: Tensor, point: tuple[float, float]) -> tuple[int, int]:
    """(row, column) of C x h x w features at (x, y) shares of the sides."""
    height, width = features.shape[1:]
    return min(int(point[1] * height), height - 1), min(int(point[0] * width), width - 1)


def _pixel(picture: np.ndarray, point: tuple[float, float]) -> tuple[float, float]:
    return point[0] * picture.shape[1], point[1] * picture.shape[0]
