"""How alike two objects of a frame are, and which belong together."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

EPS = float(np.finfo(np.float64).eps)
"""Slack of TrackEval's comparisons with a threshold."""


def box_overlaps(first: np.ndarray, second: np.ndarray, of_first: bool = False) -> np.ndarray:
    """Intersection over union of boxes, or over the area of the first ones; 0 where a box has no area.

    Args:
        first, second: G x 4 and K x 4 float64 XYXY.
        of_first: whether to divide by the area of ``first`` instead of the union.

    Returns:
        G x K float64.
    """
    left, top, right, bottom = first.T[:, :, None]
    x0, y0, x1, y1 = second.T[:, None, :]
    shared = np.minimum(right, x1)
    shared -= np.maximum(left, x0)
    np.maximum(shared, 0, out=shared)
    height = np.minimum(bottom, y1)
    height -= np.maximum(top, y0)
    shared *= np.maximum(height, 0, out=height)
    area = (right - left) * (bottom - top)
    if of_first:
        return np.divide(shared, area, out=np.zeros_like(shared), where=area > EPS)
    other = (x1 - x0) * (y1 - y0)
    union = area + other - shared
    if bool((area > EPS).all()) and bool((other > EPS).all()):
        return np.divide(shared, union, out=shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=(area > EPS) & (other > EPS) & (union > EPS))


def mask_overlaps(first: np.ndarray, second: np.ndarray, of_first: bool = False) -> np.ndarray:
    """As :func:`box_overlaps`, for G and K COCO run-length encodings of one image size."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(list(first), list(second), [int(of_first)] * len(second)))


def match_above(
    scores: np.ndarray, similarities: np.ndarray, threshold: float, below: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The one-to-one matching with the highest total score, of pairs that are alike enough.

    Args:
        scores: G x K, positive where the similarity is.
        similarities: G x K.
        threshold: least similarity of a pair.
        below: the score of pairs that are less alike; 0, or far below to have as many pairs as possible.

    Returns:
        Rows and columns of the pairs.
    """
    alike = similarities >= threshold - EPS
    rows, columns = np.nonzero(alike)
    # rows come sorted; where nothing competes, all pairs are the unique best matching
    if not len(rows) or (bool((rows[1:] != rows[:-1]).all()) and len(set(columns.tolist())) == len(columns)):
        return rows, columns
    scores = np.where(alike, scores, below)
    rows, columns = linear_sum_assignment(scores, maximize=True)
    found = scores[rows, columns] > EPS
    return rows[found], columns[found]
