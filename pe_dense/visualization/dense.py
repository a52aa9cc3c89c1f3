"""Depth and semantic labels as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
from torch import Tensor

from pe_dense.visualization.canvas import as_rgb, enlarge, font_size
from pe_dense.visualization.colors import palette_color
from pe_dense.visualization.legends import class_column, color_bar, color_table, colored

DepthKind = Literal["metric", "relative_depth", "relative_disparity"]
"""Metres; without unit, larger is farther; without unit, larger is nearer."""


def depth_to_rgb(
    depth: np.ndarray | Tensor,
    near: float | None = None,
    far: float | None = None,
    colormap: str = "plasma_r",
    legend: bool = True,
    kind: DepthKind = "metric",
    legend_width: int = 0,
) -> np.ndarray:
    """Colour a depth map; near is yellow, far is blue, unknown is black.

    Args:
        depth: H x W; of metres 0, negative and not finite values are unknown, without unit only what is not finite.
        near, far: ends of the range (of disparity ``near`` is the smaller value too); by default the 1st and 99th
            percentile of the known values. Give the same ones to compare two maps.
        colormap: any of matplotlib's; the default is perceptually uniform and nowhere near black. For disparity it is
            reversed.
        legend: adds a scale at the right, in metres if that is what the values are.
        kind: see :data:`DepthKind`.
        legend_width: least width of the scale in pixels.

    Returns:
        H x W' x 3 uint8 RGB, W' = W without a legend.

    Raises:
        ValueError: if ``depth`` is not two-dimensional or ``far`` is not beyond ``near``.
    """
    values = np.asarray(depth.detach().float().cpu() if isinstance(depth, Tensor) else depth, dtype=np.float32)
    if values.ndim != 2:
        raise ValueError(f"depth_to_rgb: expected an H x W depth map, got shape {values.shape}")
    known = np.isfinite(values) & (values > (0 if kind == "metric" else -np.inf))
    low, high = np.percentile(values[known], [1, 99]).tolist() if known.any() else (0.0, 1.0)
    low, high = (low if near is None else near), (high if far is None else far)
    if high < low or (near is not None and near == far):
        raise ValueError(f"depth_to_rgb: far ({high:g} m) must be beyond near ({low:g} m)")
    table = color_table(colormap)[:: -1 if kind == "relative_disparity" else 1]
    picture = colored(values, known, low, high, table)
    if not legend:
        return picture
    unit = " m" if kind == "metric" else ""
    return np.concatenate([picture, color_bar(table, low, high, len(picture), unit, min_width=legend_width)], axis=1)


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
