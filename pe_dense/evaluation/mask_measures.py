"""Region similarity J and contour accuracy F of two masks (Perazzi et al. 2016, section 4, as DAVIS computes them)."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

TOLERANCE = 0.008
"""How far a contour may be off, in image diagonals: DAVIS's ``bound_th``."""

_BITS = np.uint64(1) << np.arange(64, dtype=np.uint64)


def region_similarity(truth: np.ndarray, prediction: np.ndarray) -> float:
    """J: intersection over union of two H x W bool masks; 1 if both are empty."""
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def contour_accuracy(truth: np.ndarray, prediction: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """F: harmonic mean of the shares of the two contours that lie near the other one.

    Equal to dilating both contours (:func:`contour`) with a disk of :func:`contour_radius` pixels and counting what of
    each is within the other; only what lies around both masks is looked at.

    Args:
        truth, prediction: H x W bool.
        tolerance: see :func:`contour_radius`.

    Returns:
        F; 1 if neither mask has a contour, 0 if only one has.
    """
    radius = contour_radius(truth.shape, tolerance)
    true, predicted = _Contour(truth), _Contour(prediction)
    if not len(true) or not len(predicted):
        return float(len(true) == len(predicted))
    precision = predicted.count_near(true, radius) / len(predicted)
    recall = true.count_near(predicted, radius) / len(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour_radius(shape: tuple[int, ...], tolerance: float = TOLERANCE) -> int:
    """Pixels that a contour may be off in an image of H x W.

    Args:
        shape: begins with H, W.
        tolerance: in image diagonals, rounded up to whole pixels; one of at least 1 is in pixels already.
    """
    return math.ceil(tolerance if tolerance >= 1 else tolerance * float(np.linalg.norm(shape[:2])))


def contour(mask: np.ndarray) -> np.ndarray:
    """The contour of an H x W bool mask: pixels that differ from that to the right, below, or right below.

    Nothing lies beyond the image, so that there is no contour along its border.

    Returns:
        H x W bool.
    """
    height, width = mask.shape
    if not mask.size:
        return np.zeros(mask.shape, dtype=bool)
    # Lines of one pixel more, end to end: the neighbours are slices without gaps, which is fast. The repeated border
    # differs from nothing.
    row = width + 1
    flat: np.ndarray = cv2.copyMakeBorder(mask.view(np.uint8), 0, 2, 0, 1, cv2.BORDER_REPLICATE).ravel()
    size = height * row
    here = flat[:size]
    edges: np.ndarray = here ^ flat[1 : 1 + size]
    edges |= here ^ flat[row : row + size]
    edges |= here ^ flat[row + 1 : row + 1 + size]
    return edges.view(bool).reshape(height, row)[:, :width]


class _Contour:
    """The contour of an H x W bool mask as a list of N pixels, int64 rows ``y`` and columns ``x``."""

    def __init__(self, mask: np.ndarray) -> None:
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        first_row, first_column = max(top - 1, 0), max(left - 1, 0)  # a contour begins a pixel before its mask
        # a pixel more at the end: where the crop ends the image seems to end, and has no contour
        crop = mask[first_row : top + height + 1, first_column : left + width + 1]
        y, x = divmod(np.flatnonzero(contour(crop)), max(crop.shape[1], 1))
        self.y, self.x = y + first_row, x + first_column

    def __len__(self) -> int:
        return len(self.y)

    def count_near(self, other: _Contour, radius: int) -> int:
        """How many pixels have one of the other contour within ``radius``.

        Cells of 8 x 8 pixels hold the other contour as 64 bits: what lies in the disk around a pixel is found with one
        mask for each of the few cells around it.
        """
        offsets, masks = _cell_masks(radius)
        reach = int(offsets.max())
        margin = 2 * reach  # a pixel may lie a reach from the other contour's cells, and looks a reach further
        top, left = int(other.y.min() >> 3) - margin, int(other.x.min() >> 3) - margin
        height, width = int(other.y.max() >> 3) + margin + 1 - top, int(other.x.max() >> 3) + margin + 1 - left
        cells = np.zeros(height * width, dtype=np.uint64)
        np.add.at(cells, ((other.y >> 3) - top) * width + (other.x >> 3) - left, _BITS[_place(other.y, other.x)])
        row, column = (self.y >> 3) - top, (self.x >> 3) - left
        inside = (row >= reach) & (row < height - reach) & (column >= reach) & (column < width - reach)
        cell, place = (row * width + column)[inside], _place(self.y, self.x)[inside]
        near = np.zeros(len(cell), dtype=bool)
        for (rows, columns), mask in zip(offsets.tolist(), masks):
            near |= (cells.take(cell + (rows * width + columns)) & mask.take(place)) != 0
        return int(np.count_nonzero(near))


def _place(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The number of a pixel within its cell."""
    return (y & 7) << 3 | x & 7


@lru_cache(maxsize=16)
def _cell_masks(radius: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells around a pixel that its disk meets, and what of them is in it.

    Returns:
        K x 2 cell offsets (rows, columns), and K x 64 uint64: for each place of the pixel within its cell the bits of
        the pixels at a Euclidean distance of at most ``radius``.
    """
    reach = (radius + 7) // 8
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    pixels = np.mgrid[:8, :8].reshape(2, -1).T
    steps = 8 * offsets[:, None, None] + pixels[None, None] - pixels[None, :, None]
    within = (steps**2).sum(axis=-1) <= radius * radius
    return offsets, np.where(within, _BITS, np.uint64(0)).sum(axis=-1, dtype=np.uint64)
