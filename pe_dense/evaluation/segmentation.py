"""Counts of semantic segmentation that add up over images, and the scores they give."""

from __future__ import annotations

import cv2
import numpy as np

IGNORE = 255
"""The label of pixels that do not count."""


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels of each true class (row) that are predicted as each class (column).

    Args:
        truth: H x W class indices, or :data:`IGNORE`.
        prediction: H x W class indices; what lies on ignored pixels does not matter.
        num_classes: K.

    Returns:
        K x K int64.

    Raises:
        ValueError: if a label that counts is not below K.
    """
    counted = truth != IGNORE
    true, predicted = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for name, labels in (("ground truth", true), ("prediction", predicted)):
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            wrong = labels[(labels < 0) | (labels >= num_classes)][0]
            raise ValueError(f"the {name} has label {wrong} but the classes are 0 to {num_classes - 1}")
    flat = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, num_classes: int, ratio: float) -> np.ndarray:
    """Pixels near the boundaries of each class (Cheng et al. 2021, Boundary IoU, equation 2).

    A pixel of a class is near its boundary if a pixel of something else, or the outside of the image, lies within a
    square of 2 d + 1 pixels around it, d = ``ratio`` times the diagonal. The prediction is ignored where the ground
    truth is, so that the outline of what is ignored is the same in both.

    Args:
        truth, prediction, num_classes: as for :func:`confusion_matrix`.
        ratio: of d to the image's diagonal; the paper's is 0.02.

    Returns:
        3 x K int64: intersection of the two, pixels of the ground truth, pixels of the prediction.
    """
    counted = truth != IGNORE
    true = truth.astype(np.int64)
    predicted = np.where(counted, prediction, IGNORE).astype(np.int64)
    distance = max(1, round(ratio * float(np.hypot(*truth.shape))))
    near_true = near_boundary(true, distance) & counted
    near_predicted = near_boundary(predicted, distance) & counted
    both = near_true & near_predicted & (true == predicted)
    parts = (true[both], true[near_true], predicted[near_predicted])
    return np.stack([np.bincount(labels, minlength=num_classes) for labels in parts])


def near_boundary(labels: np.ndarray, distance: int) -> np.ndarray:
    """Whether another label, or the outside, lies within ``distance`` rows and columns of each pixel: H x W bool.

    The classes' masks all at once: a square holds one label only if its smallest and largest are equal.
    """
    narrow = labels.astype(np.uint16)
    square = np.ones((2 * distance + 1, 2 * distance + 1), dtype=np.uint8)
    near: np.ndarray = cv2.erode(narrow, square) != cv2.dilate(narrow, square)
    for edge in (near[:distance], near[-distance:], near[:, :distance], near[:, -distance:]):
        edge[:] = True
    return near


def ious(intersection: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Intersection over union of each class; NaN for one that neither side has: K float64."""
    return ratios(intersection, truth + prediction - intersection)


def ratios(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is 0: float64."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def mean_of_present(values: np.ndarray) -> float:
    """Mean over what is not NaN; NaN if nothing is."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
