"""Intersection over union of many objects."""

from __future__ import annotations

import numpy as np

from pe_dense.modeling.tracking.association.mask_overlap import mask_iou
from pe_dense.modeling.tracking.association.settings import Overlap


def iou(
    first: np.ndarray, first_shapes: np.ndarray, second: np.ndarray, second_shapes: np.ndarray, kind: Overlap
) -> np.ndarray:
    """IoU of N and M objects, of their boxes (:func:`box_iou`) or of their masks (:func:`mask_iou`): N x M."""
    return box_iou(first, second) if kind == "box" else mask_iou(first, first_shapes, second, second_shapes)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of N x 4 and M x 4 XYXY boxes: N x M; 0 where a box has no area."""
    x0, y0, x1, y1 = first.T[:, :, None]
    u0, v0, u1, v1 = second.T[:, None, :]
    width = np.minimum(x1, u1)
    width -= np.maximum(x0, u0)
    height = np.minimum(y1, v1)
    height -= np.maximum(y0, v0)
    shared = np.maximum(width, 0, out=width)
    shared *= np.maximum(height, 0, out=height)
    union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0)
    union -= shared
    return np.divide(shared, np.maximum(union, 1e-12, out=union), out=shared)
