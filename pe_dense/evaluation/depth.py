"""Depth metrics of one image, the crops of the benchmarks, and alignment (protocols of AdaBins, BTS and MiDaS)."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

Alignment = Literal["metric", "median", "least_squares", "least_squares_disparity"]
Crop = Literal["eigen_nyu", "garg", "eigen_kitti", "kb", "kb_garg", "kb_eigen_kitti"]
Window = tuple[int, int, int, int]
"""Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the ends excluded."""

DEPTH_METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3")
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)
CROPS: tuple[Crop, ...] = get_args(Crop)

_KB_SIZE = (352, 1216)
_NYU_SIZE, _NYU_WINDOW = (480, 640), (45, 471, 41, 601)
_FRACTIONS = {
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen_kitti": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}


def depth_metrics(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The nine numbers of one image (Eigen et al. 2014, section 4.3; the definitions of BTS and AdaBins).

    Args:
        prediction, truth: N positive depths in metres of the pixels that count.

    Returns:
        ``abs_rel``, ``sq_rel`` (m), ``rmse`` (m), ``rmse_log`` (natural), ``log10``, ``silog`` (times 100) and
        ``delta1`` to ``delta3``, shares of the pixels whose ratio is below 1.25, 1.25^2 and 1.25^3.

    Raises:
        ValueError: if there is no pixel.
    """
    if not len(truth):
        raise ValueError("depth_metrics: there is no pixel to compare")
    predicted, true = prediction.astype(np.float64), truth.astype(np.float64)
    quotient = predicted / true
    difference = predicted - true
    squared = difference**2
    log_ratio = np.log(quotient)
    ratio = np.maximum(quotient, true / predicted)
    return {
        "abs_rel": float((np.abs(difference) / true).mean()),
        "sq_rel": float((squared / true).mean()),
        "rmse": math.sqrt(squared.mean()),
        "rmse_log": math.sqrt((log_ratio**2).mean()),
        "log10": float(np.abs(log_ratio).mean()) / math.log(10),
        "silog": 100 * float(log_ratio.std()),
        **{f"delta{n}": float((ratio < 1.25**n).mean()) for n in (1, 2, 3)},
    }


def crop_window(crop: Crop | None, height: int, width: int) -> Window:
    """The part of a depth map in which pixels count.

    Args:
        crop: None for all of it; "eigen_nyu" (480 x 640 maps only); "garg" and "eigen_kitti", fractions of the map;
            "kb", the 352 x 1216 pixels at the bottom centre; "kb_garg" and "kb_eigen_kitti", fractions of that part.
        height, width: of the map.

    Raises:
        ValueError: if a map of this size has no such part.
    """
    if crop is None:
        return 0, height, 0, width
    if crop == "eigen_nyu":
        if (height, width) != _NYU_SIZE:
            raise ValueError(f'crop "eigen_nyu" is defined on 480 x 640 maps, not {height} x {width}; use crop=None')
        return _NYU_WINDOW
    top, bottom, left, right = (0, height, 0, width)
    name: str = crop
    if crop.startswith("kb"):
        top, bottom, left, right = kb_window(height, width)
        name = crop[3:]
    if name:
        low, high, near, far = _FRACTIONS[name]
        rows, columns = bottom - top, right - left
        top, bottom = top + int(low * rows), top + int(high * rows)
        left, right = left + int(near * columns), left + int(far * columns)
    return top, bottom, left, right


def kb_window(height: int, width: int) -> Window:
    """The KITTI benchmark's crop: 352 x 1216 pixels at the bottom, in the middle.

    Raises:
        ValueError: if the map is smaller than that.
    """
    rows, columns = _KB_SIZE
    if height < rows or width < columns:
        raise ValueError(f"the KB crop takes {rows} x {columns} pixels of a map, this one has {height} x {width}")
    left = (width - columns) // 2
    return height - rows, height, left, left + columns


def place_prediction(prediction: np.ndarray, height: int, width: int) -> np.ndarray:
    """A prediction as a map of the ground truth's size: one of the KB crop gets NaN around it.

    Raises:
        ValueError: if it has neither the ground truth's size nor the KB crop's.
    """
    if prediction.shape == (height, width):
        return prediction
    if prediction.shape == _KB_SIZE and height >= _KB_SIZE[0] and width >= _KB_SIZE[1]:
        placed = np.full((height, width), np.nan, dtype=np.float32)
        top, bottom, left, right = kb_window(height, width)
        placed[top:bottom, left:right] = prediction
        return placed
    raise ValueError(
        f"the prediction has shape {prediction.shape} but the ground truth is {height} x {width}; "
        "the model must return depth at the size of the original image"
    )


def fit_alignment(prediction: np.ndarray, truth: np.ndarray, alignment: Alignment) -> tuple[float, float]:
    """Scale and shift that bring one image's prediction to its ground truth.

    Args:
        prediction: N predictions of the pixels that count: depth up to a scale ("median"), up to scale and shift
            ("least_squares"), or disparity, larger when nearer, up to both ("least_squares_disparity"); values that are
            not finite take no part.
        truth: N depths in metres.
        alignment: "metric" changes nothing.

    Returns:
        (scale, shift): of the depth, or of the disparity. A constant prediction gets scale 0 and the mean as shift by
        least squares; one whose median is not positive stays as it is by the median.
    """
    if alignment == "metric":
        return 1.0, 0.0
    finite = np.isfinite(prediction)
    predicted, target = prediction[finite].astype(np.float64), truth[finite].astype(np.float64)
    if not len(predicted):
        return 1.0, 0.0
    if alignment == "median":
        median = float(np.median(predicted))
        return (float(np.median(target)) / median if median > 0 else 1.0), 0.0
    if alignment == "least_squares_disparity":
        target = 1 / target
    centred = predicted - predicted.mean()
    spread = float(centred @ centred)
    scale = float(centred @ target) / spread if spread > 0 else 0.0
    return scale, float(target.mean() - scale * predicted.mean())


def apply_alignment(
    prediction: np.ndarray, fit: tuple[float, float], alignment: Alignment, min_depth: float, max_depth: float
) -> np.ndarray:
    """Aligned depth in metres within [min_depth, max_depth], of any shape, float64.

    As in the protocol, NaN becomes ``min_depth`` and what is infinite the end of the range that it lies beyond.
    """
    scale, shift = fit
    values = prediction.astype(np.float64)
    if alignment != "metric":
        values = scale * values + shift
    if alignment == "least_squares_disparity":
        values = 1 / np.clip(values, 1 / max_depth, 1 / min_depth)
    values = np.clip(values, min_depth, max_depth)
    values[np.isnan(values)] = min_depth
    return values
