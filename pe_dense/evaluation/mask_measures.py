"""Region similarity J and contour accuracy F of two masks (Perazzi et al. 2016, section 4, as DAVIS computes them)."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

TOLERANCE = 0.008
"""How far a contour may be off, in image diagonals: DAVIS's ``bound_th``."""

_STAGES = (9, 49)  # pixels around a contour pixel that are looked at first: most contours are nearly right

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two exclusive


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
    box_true, box_predicted = _contour_box(truth), _contour_box(prediction)
    contour_true, contour_predicted = _contour_in(truth, box_true), _contour_in(prediction, box_predicted)
    total_true, total_predicted = np.count_nonzero(contour_true), np.count_nonzero(contour_predicted)
    if not total_true or not total_predicted:
        return float(total_true == total_predicted)
    common = _common_box(box_true, box_predicted, radius)
    near_true = _part(contour_true, box_true, common, radius)
    near_predicted = _part(contour_predicted, box_predicted, common, radius)
    precision = _count_near(near_predicted, near_true, radius) / total_predicted
    recall = _count_near(near_true, near_predicted, radius) / total_true
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


def _contour_box(mask: np.ndarray) -> Box:
    """Where the contour can be: the mask, and a pixel more on all sides."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return 0, 0, 0, 0
    bottom, right = min(top + height + 1, mask.shape[0]), min(left + width + 1, mask.shape[1])
    return max(top - 1, 0), max(left - 1, 0), bottom, right


def _contour_in(mask: np.ndarray, box: Box) -> np.ndarray:
    return contour(mask[box[0] : box[2], box[1] : box[3]])


def _common_box(one: Box, other: Box, margin: int) -> Box:
    """Where a pixel of one box can be within ``margin`` pixels of one of the other; perhaps of negative size."""
    top, left = max(one[0], other[0]) - margin, max(one[1], other[1]) - margin
    return top, left, min(one[2], other[2]) + margin, min(one[3], other[3]) + margin


def _part(values: np.ndarray, box: Box, target: Box, margin: int) -> np.ndarray:
    """What of the pixels of ``box`` lies in ``target``, with ``margin`` more on all sides; empty where there are none.

    Returns:
        Contiguous uint8.
    """
    height, width = (max(target[k + 2] - target[k] + 2 * margin, 0) for k in (0, 1))
    part = np.zeros((height, width), dtype=np.uint8)
    top, left = max(box[0], target[0]), max(box[1], target[1])
    bottom, right = min(box[2], target[2]), min(box[3], target[3])
    if top < bottom and left < right:
        y, x = top - target[0] + margin, left - target[1] + margin
        inside = values[top - box[0] : bottom - box[0], left - box[1] : right - box[1]]
        part[y : y + bottom - top, x : x + right - left] = inside
    return part


def _count_near(points: np.ndarray, reference: np.ndarray, radius: int) -> int:
    """How many pixels of ``points`` have one of ``reference`` within ``radius``; both have a margin of that width."""
    left = np.flatnonzero(points.view(bool)).astype(np.int32)
    total = len(left)
    flat, (rows, columns) = reference.ravel(), _disk_offsets(radius)
    offsets = rows * np.int32(points.shape[1]) + columns
    start = 0
    for stop in (*_STAGES, len(offsets)):
        if len(left) * (stop - start) > points.size:  # many points: the disk around each costs more than a dilation
            return _count_by_dilation(points, reference, radius)
        near = offsets[start:stop]
        left = left[~flat[left[:, None] + near].view(bool).any(axis=1)]
        start = stop
    return total - len(left)


def _count_by_dilation(points: np.ndarray, reference: np.ndarray, radius: int) -> int:
    rows, columns = _disk_offsets(radius)
    disk = np.zeros((2 * radius + 1, 2 * radius + 1), dtype=np.uint8)
    disk[rows + radius, columns + radius] = 1
    return int(np.count_nonzero(cv2.dilate(reference, disk) & points))


@lru_cache(maxsize=16)
def _disk_offsets(radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int32, of the pixels at a Euclidean distance of at most ``radius`` from 0, nearest first."""
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1).astype(np.int32)
    squared = rows * rows + columns * columns
    order = np.argsort(squared, kind="stable")[: np.count_nonzero(squared <= radius * radius)]
    return rows[order], columns[order]
