"""Contour accuracy F of masks against dilating both contours over the whole image."""

from __future__ import annotations

from statistics import median
from typing import Any

import cv2
import numpy as np
from benchmarks.timing import interleaved, ratio_row

from pe_dense.evaluation.mask_measures import contour_accuracy, contour_radius

SIZES = {"480p": (480, 854), "1080p": (1080, 1920)}
AREAS = (0.02, 0.1, 0.3)  # of the object, in the image: DAVIS's are between them
Pair = tuple[np.ndarray, np.ndarray]


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the benchmark table; ``quick`` takes fewer masks and repeats."""
    count, repeats = (3, 3) if quick else (10, 9)
    cv2.setNumThreads(1)
    rows = []
    for name, size in SIZES.items():
        for area in AREAS:
            pairs = [object_pair(np.random.default_rng([i, size[0]]), size, area) for i in range(count)]
            worst = max(abs(contour_accuracy(*pair) - plain(*pair)) for pair in pairs)
            seconds = interleaved(
                {
                    "ours": lambda pairs=pairs: [contour_accuracy(*pair) for pair in pairs],
                    "plain": lambda pairs=pairs: [plain(*pair) for pair in pairs],
                },
                repeats,
            )
            mean = median(contour_accuracy(*pair) for pair in pairs)
            rows.append(
                ratio_row(
                    f"contour accuracy of a mask, {name}, {area:.0%} of the image",
                    "full-image dilation with a disk (OpenCV)",
                    *(1000 * seconds[side] / count for side in ("ours", "plain")),
                    target=3.0,
                    unit="ms",
                    note=f"median F {mean:.2f}, largest difference {worst:.0e}",
                )
            )
    return rows


def object_pair(rng: np.random.Generator, size: tuple[int, int], area: float) -> Pair:
    """A blob with a wavy outline that covers about ``area`` of the image, and a prediction off by some pixels."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    radius = np.sqrt(area * size[0] * size[1] / np.pi)
    centre = np.array(size) * rng.uniform(0.35, 0.65, 2)
    angle, distance = np.arctan2(y - centre[0], x - centre[1]), np.hypot(y - centre[0], x - centre[1])
    waves = [(k, rng.uniform(0, 0.25) / k**0.5, rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5, 9, 17)]
    outline = radius * (1 + sum(a * np.cos(k * angle + phase) for k, a, phase in waves))
    wrong = radius * 0.12 * np.cos(7 * angle + rng.uniform(0, 6)) + rng.uniform(-3, 3)
    return distance < outline, distance < outline + wrong


def plain(truth: np.ndarray, prediction: np.ndarray) -> float:
    """F by the book: contours of the whole image, each dilated with the whole disk."""
    radius = contour_radius(truth.shape)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    true, predicted = _contour(truth), _contour(prediction)
    near_true, near_predicted = (cv2.dilate(edges.astype(np.uint8), disk) for edges in (true, predicted))
    if not true.any() or not predicted.any():
        return float(true.any() == predicted.any())
    precision = (predicted & (near_true > 0)).sum() / predicted.sum()
    recall = (true & (near_predicted > 0)).sum() / true.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _contour(mask: np.ndarray) -> np.ndarray:
    right, below, across = (np.zeros_like(mask) for _ in range(3))
    right[:, :-1], below[:-1], across[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    edges = (mask ^ right) | (mask ^ below) | (mask ^ across)
    edges[-1], edges[:, -1] = mask[-1] ^ right[-1], mask[:, -1] ^ below[:, -1]
    edges[-1, -1] = False
    return edges
