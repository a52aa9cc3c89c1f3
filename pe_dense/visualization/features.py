"""Features of an encoder as pictures: principal components, similarity, clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.visualization.canvas import as_rgb
from pe_dense.visualization.legends import color_table, colored

ColorSpace = Literal["rgb", "lch"]
# where the three components end in lightness, chroma and hue (degrees): no black, no grey, no hue twice
_LCH_LOW, _LCH_HIGH = np.array([25.0, 20.0, 0.0]), np.array([92.0, 70.0, 300.0])


@dataclass(frozen=True)
class FeatureColors:
    """Three principal directions of features and the range of each: the same features get the same colours everywhere.

    Attributes:
        mean: C.
        directions: 3 x C.
        low, high: 3, values that become the ends of the colour's coordinates.
        space: coordinates: red, green and blue, or lightness, chroma and hue, as the pictures of the Perception
            Encoder's paper have it (arXiv 2504.13181, appendix B.3.2; it does not say over which ranges).
    """

    mean: Tensor
    directions: Tensor
    low: Tensor
    high: Tensor
    space: ColorSpace = "rgb"

    @classmethod
    def fit(
        cls,
        features: Sequence[Tensor],
        foreground: Sequence[np.ndarray | Tensor] | None = None,
        space: ColorSpace = "rgb",
    ) -> FeatureColors:
        """Fit to the features (each C x H x W) of one or more images, only where ``foreground`` (H x W) if given.

        The sign of each direction is such that its distribution is skewed to the right; the range spans the 2nd to the
        98th percentile.

        Raises:
            ValueError: if there is nothing to fit to or a value is not finite.
        """
        parts = [f.detach().cpu().double().flatten(1).T for f in features]
        if foreground is not None:
            parts = [p[torch.as_tensor(np.asarray(m), dtype=torch.bool).flatten()] for p, m in zip(parts, foreground)]
        rows = torch.cat(parts)
        if not len(rows) or not rows.isfinite().all():
            raise ValueError("FeatureColors: no foreground pixel, or features that are not finite")
        mean = rows.mean(dim=0)
        centred = rows - mean
        _, directions = torch.linalg.eigh(centred.T @ centred)
        top = F.pad(directions.flip(1)[:, :3].T, (0, 0, 0, max(0, 3 - len(mean))))
        projected = centred @ top.T
        sign = torch.where(projected.pow(3).sum(dim=0) < 0, -1.0, 1.0).double()
        projected, top = projected * sign, top * sign[:, None]
        # torch.quantile refuses more than 16 million values
        low, high = (torch.from_numpy(np.percentile(projected.numpy(), q, axis=0)) for q in (2, 98))
        return cls(mean, top, low, high, space)

    def __call__(self, features: Tensor, foreground: np.ndarray | Tensor | None = None) -> np.ndarray:
        """Colour C x H x W features: H x W x 3 uint8, black outside ``foreground`` (H x W bool)."""
        channels, height, width = features.shape
        projected = (features.detach().cpu().double().reshape(channels, -1).T - self.mean) @ self.directions.T
        scaled = ((projected - self.low) / (self.high - self.low).clamp(min=1e-12)).clamp(0, 1)
        values = scaled.reshape(height, width, 3).numpy()
        picture: np.ndarray = np.round((values if self.space == "rgb" else _lch_to_rgb(values)) * 255).astype(np.uint8)
        if foreground is not None:
            picture[~np.asarray(foreground, dtype=bool)] = 0
        return picture


def _lch_to_rgb(values: np.ndarray) -> np.ndarray:
    """H x W x 3 coordinates in [0, 1] to sRGB in [0, 1]; colours that no screen shows are clipped."""
    lightness, chroma, hue = np.moveaxis(_LCH_LOW + values * (_LCH_HIGH - _LCH_LOW), -1, 0)
    angle = np.deg2rad(hue)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=-1).astype(np.float32)
    rgb: np.ndarray = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.clip(rgb, 0, 1)


def features_to_rgb(
    features: Tensor,
    foreground: np.ndarray | Tensor | None = None,
    size: tuple[int, int] | None = None,
    space: ColorSpace = "rgb",
) -> np.ndarray:
    """The first three principal components of one image's features as a colour.

    Args:
        features: C x H x W.
        foreground: H x W bool; only these pixels take part, the others are black.
        size: (height, width) to enlarge the picture to, nearest neighbour.
        space: see :class:`FeatureColors`.

    Returns:
        H x W x 3 uint8 (or of ``size``). Use :class:`FeatureColors` for colours that agree between images.

    Raises:
        ValueError: if ``features`` is not C x H x W, not finite, or has no foreground.
    """
    if features.ndim != 3:
        raise ValueError(f"features_to_rgb: expected C x H x W features, got shape {tuple(features.shape)}")
    colors = FeatureColors.fit([features], None if foreground is None else [foreground], space)
    picture = colors(features, foreground)
    if size is None:
        return picture
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def blended(features: Tensor) -> Tensor:
    """Half C x H x W features, half a blurred copy (Gaussian, 3 x 3, sigma 1), as for the pictures of the paper."""
    tap = torch.exp(torch.tensor([-0.5, 0.0, -0.5]))
    kernel = torch.outer(tap, tap) / tap.sum() ** 2
    x = F.pad(features.float()[:, None], (1, 1, 1, 1), mode="replicate")
    return 0.5 * features + 0.5 * F.conv2d(x, kernel.to(x.device)[None, None])[:, 0]


def cosine_map(features: Tensor, vector: Tensor) -> Tensor:
    """Cosine of C x H x W features with a vector of C: H x W in [-1, 1]; 0 where a feature is 0."""
    return F.cosine_similarity(features.float(), vector.float()[:, None, None], dim=0)


class FeatureClusters:
    """Spherical k-means: clusters of directions. Starts from far-apart features rather than random ones, so the same
    features give the same clusters; cluster 0 is the largest.

    Args:
        features: each C x H x W, of one or more images.
        number: how many clusters; fewer if there are fewer features.

    Attributes:
        centres: number x C, of length 1.

    Raises:
        ValueError: for a number below 1 or features that are not finite.
    """

    def __init__(self, features: Sequence[Tensor], number: int, most: int = 50_000, rounds: int = 50) -> None:
        if number < 1:
            raise ValueError(f"the number of clusters must be at least 1, it is {number}")
        rows = torch.cat([f.detach().float().cpu().flatten(1).T for f in features])
        if not rows.isfinite().all():
            raise ValueError("FeatureClusters: the features are not finite")
        rows = F.normalize(rows[:: -(-len(rows) // most)], dim=1)
        centres = _far_apart(rows, min(number, len(rows)))
        nearest = torch.full((len(rows),), -1)
        for _ in range(rounds):
            before, nearest = nearest, (rows @ centres.T).argmax(1)
            if torch.equal(before, nearest):
                break
            sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
            lonely = sums.norm(dim=1, keepdim=True) < 1e-6
            centres = torch.where(lonely, centres, F.normalize(sums, dim=1))
        order = torch.bincount(nearest, minlength=len(centres)).argsort(descending=True, stable=True)
        self.centres = centres[order]

    def __call__(self, features: Tensor) -> Tensor:
        """Number of the nearest cluster of C x H x W features: H x W int64."""
        rows = features.detach().float().cpu().flatten(1).T
        return (rows @ self.centres.T).argmax(1).view(features.shape[1:])


def _far_apart(rows: Tensor, number: int) -> Tensor:
    """The row most like the mean, then always the one least like any chosen before."""
    chosen = [int((rows @ rows.mean(0)).argmax())]
    closest = rows @ rows[chosen[0]]
    for _ in range(number - 1):
        chosen.append(int(closest.argmin()))
        closest = torch.maximum(closest, rows @ rows[chosen[-1]])
    return rows[chosen]


def overlay_heat(
    image: np.ndarray | Tensor,
    values: Tensor,
    low: float,
    high: float,
    mark: tuple[float, float] | None = None,
    colormap: str = "turbo",
    alpha: float = 0.65,
) -> np.ndarray:
    """Lay a map of values over an image.

    Args:
        image: the picture (see :func:`as_rgb`).
        values: h x w; enlarged to the picture bilinearly.
        low, high: values at the ends of the colour map.
        mark: (x, y) in the picture's pixels of a point to mark.
        colormap: any of matplotlib's.
        alpha: opacity of the colours.

    Returns:
        H x W x 3 uint8 RGB.
    """
    canvas = as_rgb(image)
    height, width = canvas.shape[:2]
    large = cv2.resize(values.float().cpu().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    colors = colored(large, np.ones(large.shape, dtype=bool), low, high, color_table(colormap))
    grey = canvas.mean(axis=2, keepdims=True)
    picture = np.round(grey * (1 - alpha) + colors * alpha).astype(np.uint8)
    if mark is not None:
        radius = max(3, round(0.012 * (height + width) / 2))
        for size, color in ((radius + 2, (0, 0, 0)), (radius, (255, 255, 255))):
            cv2.circle(picture, (int(mark[0]), int(mark[1])), size, color, 2, cv2.LINE_AA)
    return picture
