"""Pixels to draw on: conversion, enlargement, lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from pe_dense.visualization.colors import Color

SOLID: tuple[int, ...] = ()
DASHED: tuple[int, ...] = (7, 5)
DOTTED: tuple[int, ...] = (2, 3)


def as_rgb(image: np.ndarray | Tensor) -> np.ndarray:
    """A writable H x W x 3 uint8 RGB copy.

    Args:
        image: H x W x 3 or H x W array, or 3 x H x W or 1 x H x W tensor; uint8, or float in [0, 1].

    Raises:
        ValueError: if the shape is none of these or the image has no pixels.
    """
    array: np.ndarray
    if isinstance(image, Tensor):
        tensor = image.detach().cpu()
        array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    else:
        array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise ValueError(
            f"cannot draw on an image of shape {tuple(image.shape)}; give an H x W x 3 array or a 3 x H x W tensor"
        )
    if np.issubdtype(array.dtype, np.floating):
        array = np.round(np.clip(np.nan_to_num(array), 0, 1) * 255)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)), dtype=np.uint8).copy()


def enlarge(image: np.ndarray, least: int) -> tuple[np.ndarray, float]:
    """Scale an image up until its longer side has at least ``least`` pixels; returns it and the factor (>= 1)."""
    height, width = image.shape[:2]
    factor = max(1.0, least / max(height, width))
    return fit_into(image, round(width * factor), round(height * factor))[0], factor


def fit_into(image: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float]:
    """Scale an image, its shape kept, to the largest size within ``width`` x ``height``; returns it and the factor."""
    factor = min(width / image.shape[1], height / image.shape[0])
    w, h = (max(1, min(limit, round(side * factor))) for limit, side in zip((width, height), image.shape[1::-1]))
    if (h, w) == image.shape[:2]:
        return image, factor
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), factor


def line_width(height: int, width: int) -> int:
    """Line width in pixels that looks alike at every image size."""
    return max(1, round(0.0032 * (height + width) / 2))


def font_size(height: int, width: int) -> int:
    """Font size in pixels that looks alike at every image size, and never too small to read."""
    return max(12, round(0.022 * (height + width) / 2))


def draw_box(image: np.ndarray, box: Sequence[float], color: Color, width: int, style: tuple[int, ...] = SOLID) -> None:
    """Draw an XYXY box in place; ``style`` is (dash, gap) in line widths, empty for a solid line."""
    height, columns = image.shape[:2]
    half = width / 2
    x0, x1 = (float(np.clip(v, half, max(half, columns - half))) for v in (box[0], box[2]))
    y0, y1 = (float(np.clip(v, half, max(half, height - half))) for v in (box[1], box[3]))
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    pieces = [corners] if not style else _dashes(corners, style[0] * width, style[1] * width)
    # a pixel's centre is at +0.5, OpenCV puts it at the whole number; 4 fractional bits
    fixed = [np.round((piece - 0.5) * 16).astype(np.int32) for piece in pieces]
    cv2.polylines(image, fixed, False, color, width, cv2.LINE_AA, shift=4)


def _dashes(path: np.ndarray, dash: float, gap: float) -> list[np.ndarray]:
    """Cut each straight part of a path into dashes that begin and end at its corners."""
    pieces = []
    for start, stop in pairwise(path):
        length = float(np.hypot(*(stop - start)))
        count = max(1, round((length + gap) / (dash + gap)))
        stretch = length / max(1e-6, count * (dash + gap) - gap)
        begins = np.arange(count) * (dash + gap) * stretch / max(length, 1e-6)
        ends = begins + dash * stretch / max(length, 1e-6)
        pieces += [start + np.outer([b, min(e, 1.0)], stop - start) for b, e in zip(begins, ends)]
    return pieces


def save_image(path: str | Path, image: np.ndarray) -> None:
    """Write an RGB image; the folder is made if need be.

    Raises:
        ValueError: if the extension is not an image format OpenCV writes.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    if not cv2.haveImageWriter(f"x{path.suffix}"):
        raise ValueError(f"{path}: cannot write images of type '{path.suffix}'; use .png or .jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image[..., ::-1])[1].tobytes())
