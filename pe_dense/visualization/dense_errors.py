"""Where depth and semantic labels are wrong."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from torch import Tensor

from pe_dense.visualization.canvas import as_rgb
from pe_dense.visualization.colors import Color
from pe_dense.visualization.legends import color_bar, color_table, colored

DepthError = Literal["abs_rel", "signed"]
WRONG: Color = (255, 45, 45)
UNLABELLED: Color = (20, 20, 20)

_RELATIVE_LIMIT = 25.0  # percent: about where a pixel no longer counts for delta1


def depth_error_to_rgb(
    prediction: np.ndarray | Tensor,
    truth: np.ndarray | Tensor,
    kind: DepthError = "abs_rel",
    limit: float | None = None,
    legend: bool = True,
) -> np.ndarray:
    """Colour the error of a depth map; black where there is no ground truth.

    Args:
        prediction, truth: H x W metres; 0 in ``truth`` is unknown.
        kind: "abs_rel": error in percent of the depth, from light yellow (none) to dark red; "signed": metres, red
            where the prediction is too near, white where it is right, blue where it is too far.
        limit: percent or metres at the end of the colours; by default 25 %, or the 99th percentile of the error.
        legend: adds a scale at the right.

    Returns:
        H x W' x 3 uint8 RGB, W' = W without a legend.

    Raises:
        ValueError: if the maps differ in size or ``kind`` is unknown.
    """
    maps = [m.detach().cpu().numpy() if isinstance(m, Tensor) else m for m in (prediction, truth)]
    predicted, true = (np.asarray(m, dtype=np.float64) for m in maps)
    if predicted.shape != true.shape or true.ndim != 2:
        raise ValueError(f"depth_error_to_rgb: the prediction is {predicted.shape} but the ground truth {true.shape}")
    if kind not in ("abs_rel", "signed"):
        raise ValueError(f"depth_error_to_rgb: kind must be 'abs_rel' or 'signed', not {kind!r}")
    known = np.isfinite(true) & (true > 0) & np.isfinite(predicted)
    error = np.where(known, predicted - true, 0)
    if kind == "abs_rel":
        error = 100 * np.abs(error) / np.where(known, true, 1)
        low, high, unit, table = 0.0, limit or _RELATIVE_LIMIT, " %", color_table("YlOrRd")
    else:
        high = limit or max(0.01, float(np.percentile(np.abs(error[known]), 99)) if known.any() else 1.0)
        low, unit, table = -high, " m", color_table("RdBu")
    picture = colored(error, known, low, high, table)
    if not legend:
        return picture
    return np.concatenate([picture, color_bar(table, low, high, len(picture), unit, signed=low < 0)], axis=1)


def sem_seg_error_to_rgb(
    image: np.ndarray | Tensor, prediction: np.ndarray | Tensor, truth: np.ndarray | Tensor, ignore: int = 255
) -> np.ndarray:
    """The image in grey, with wrong labels in red and unlabelled pixels dark.

    Args:
        image: the picture (see :func:`as_rgb`).
        prediction, truth: H x W class indices of its size.
        ignore: the value in ``truth`` that stands for "no label".

    Returns:
        H x W x 3 uint8 RGB.

    Raises:
        ValueError: if the three differ in size.
    """
    canvas = as_rgb(image)
    predicted, true = (np.asarray(m.cpu() if isinstance(m, Tensor) else m) for m in (prediction, truth))
    if not predicted.shape == true.shape == canvas.shape[:2]:
        raise ValueError(
            f"sem_seg_error_to_rgb: the image is {canvas.shape[:2]}, the prediction {predicted.shape} and the ground "
            f"truth {true.shape}"
        )
    grey = np.repeat(canvas.mean(axis=2, keepdims=True), 3, axis=2)
    wrong, unlabelled = (predicted != true) & (true != ignore), true == ignore
    grey[wrong] = 0.3 * grey[wrong] + 0.7 * np.array(WRONG)
    grey[unlabelled] = 0.15 * grey[unlabelled] + 0.85 * np.array(UNLABELLED)
    picture: np.ndarray = np.round(grey).astype(np.uint8)
    return picture


def fit_map(values: np.ndarray, known: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale a map with holes to a picture's size without mixing values; single points stay visible.

    Args:
        values: H x W, of any type.
        known: H x W bool; only these values are shown.
        width, height: of the result.

    Returns:
        height x width values and which of them are known.
    """
    shrink = max(1.0, values.shape[1] / width, values.shape[0] / height)
    sparse = 0 < known.mean() < 0.5
    reach = (1.2 if sparse else 0.5) * shrink
    if (shrink > 1 or sparse) and known.any() and not known.all():
        far = (~known).astype(np.uint8)
        distance, nearest = cv2.distanceTransformWithLabels(far, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        owners = np.zeros(int(nearest.max()) + 1, dtype=values.dtype)
        owners[nearest[known]] = values[known]
        values, known = owners[nearest], distance <= reach
    rows, columns = (np.minimum(((np.arange(n) + 0.5) * m / n).astype(np.int64), m - 1)
                     for n, m in zip((height, width), values.shape))  # fmt: skip
    return values[rows[:, None], columns], known[rows[:, None], columns]
