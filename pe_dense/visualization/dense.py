"""Depth, semantic labels and features as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.visualization.canvas import as_rgb, enlarge, font_size
from pe_dense.visualization.colors import palette_color
from pe_dense.visualization.legends import class_column, color_bar, color_table, colored


def depth_to_rgb(
    depth: np.ndarray | Tensor,
    near: float | None = None,
    far: float | None = None,
    colormap: str = "plasma_r",
    legend: bool = True,
) -> np.ndarray:
    """Colour a depth map; near is yellow, far is blue, unknown is black.

    Args:
        depth: H x W metres; 0, negative and not finite values are unknown.
        near, far: ends of the range; by default the 1st and 99th percentile of the known values. Give the same ones to
            compare two maps.
        colormap: any of matplotlib's; the default is perceptually uniform and nowhere near black.
        legend: adds a scale in metres at the right.

    Returns:
        H x W' x 3 uint8 RGB, W' = W without a legend.

    Raises:
        ValueError: if ``depth`` is not two-dimensional or ``far`` is not beyond ``near``.
    """
    values = np.asarray(depth.detach().float().cpu() if isinstance(depth, Tensor) else depth, dtype=np.float32)
    if values.ndim != 2:
        raise ValueError(f"depth_to_rgb: expected an H x W depth map, got shape {values.shape}")
    known = np.isfinite(values) & (values > 0)
    low, high = np.percentile(values[known], [1, 99]).tolist() if known.any() else (0.0, 1.0)
    low, high = (low if near is None else near), (high if far is None else far)
    if high < low or (near is not None and near == far):
        raise ValueError(f"depth_to_rgb: far ({high:g} m) must be beyond near ({low:g} m)")
    table = color_table(colormap)
    picture = colored(values, known, low, high, table)
    return np.concatenate([picture, color_bar(table, low, high, len(picture), " m")], axis=1) if legend else picture


def overlay_sem_seg(
    image: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    names: Sequence[str] | Mapping[int, str] | None = None,
    alpha: float = 0.65,
    ignore: int = 255,
    legend: bool = True,
    min_side: int = 640,
) -> np.ndarray:
    """Lay semantic labels over an image; ignored pixels keep the image's grey.

    Args:
        image: the picture (see :func:`as_rgb`).
        labels: H x W class index of each pixel.
        names: class names, for the legend.
        alpha: opacity of the colours.
        ignore: the value that stands for "no label".
        legend: adds a list of the classes that occur, most frequent first, at the right.
        min_side: smaller images are enlarged until their longer side has this many pixels.

    Returns:
        H' x W' x 3 uint8 RGB.

    Raises:
        ValueError: if image and labels differ in size.
    """
    canvas = as_rgb(image)
    values = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels).astype(np.int64)
    if values.shape != canvas.shape[:2]:
        raise ValueError(f"overlay_sem_seg: the image is {canvas.shape[:2]} but the labels are {values.shape}")
    canvas, _ = enlarge(canvas, min_side)
    enlarged = cv2.resize(values.astype(np.int32), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    values = enlarged.astype(np.int64)
    present, counts = np.unique(values[values != ignore], return_counts=True)
    mixed = np.repeat(canvas.mean(axis=2, keepdims=True), 3, axis=2)
    for label in present.tolist():
        where = values == label
        mixed[where] = canvas[where] * (1 - alpha) + np.array(palette_color(max(0, label))) * alpha
    picture = np.round(mixed).astype(np.uint8)
    if not legend or not len(present):
        return picture
    order = present[np.argsort(-counts, kind="stable")].tolist()
    return np.concatenate([picture, class_column(order, names, len(picture), font_size(*picture.shape[:2]))], axis=1)


@dataclass(frozen=True)
class FeatureColors:
    """Three principal directions of features and the range of each: the same features get the same colours everywhere.

    Attributes:
        mean: C.
        directions: 3 x C.
        low, high: 3, values that become 0 and 255.
    """

    mean: Tensor
    directions: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def fit(cls, features: Sequence[Tensor], foreground: Sequence[np.ndarray | Tensor] | None = None) -> FeatureColors:
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
        return cls(mean, top, low, high)

    def __call__(self, features: Tensor, foreground: np.ndarray | Tensor | None = None) -> np.ndarray:
        """Colour C x H x W features: H x W x 3 uint8, black outside ``foreground`` (H x W bool)."""
        channels, height, width = features.shape
        projected = (features.detach().cpu().double().reshape(channels, -1).T - self.mean) @ self.directions.T
        scaled = ((projected - self.low) / (self.high - self.low).clamp(min=1e-12)).clamp(0, 1)
        picture: np.ndarray = scaled.mul(255).round().to(torch.uint8).reshape(height, width, 3).numpy()
        if foreground is not None:
            picture[~np.asarray(foreground, dtype=bool)] = 0
        return picture


def features_to_rgb(
    features: Tensor, foreground: np.ndarray | Tensor | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The first three principal components of one image's features as red, green and blue.

    Args:
        features: C x H x W.
        foreground: H x W bool; only these pixels take part, the others are black.
        size: (height, width) to enlarge the picture to, nearest neighbour.

    Returns:
        H x W x 3 uint8 (or of ``size``). Use :class:`FeatureColors` for colours that agree between images.

    Raises:
        ValueError: if ``features`` is not C x H x W, not finite, or has no foreground.
    """
    if features.ndim != 3:
        raise ValueError(f"features_to_rgb: expected C x H x W features, got shape {tuple(features.shape)}")
    colors = FeatureColors.fit([features], None if foreground is None else [foreground])
    picture = colors(features, foreground)
    if size is None:
        return picture
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
