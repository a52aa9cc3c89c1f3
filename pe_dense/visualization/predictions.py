"""All that a model predicts for an image in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pe_dense.visualization.canvas import enlarge, font_size
from pe_dense.visualization.dense import DepthKind, depth_to_rgb, overlay_sem_seg
from pe_dense.visualization.dense_errors import fit_map
from pe_dense.visualization.instances import ColorBy, draw_instances
from pe_dense.visualization.legends import class_column
from pe_dense.visualization.sheets import in_a_row, padded

_LEAST_SIDE = 640  # of a panel: smaller images are enlarged, so that text is legible
_WIDE = 2.0  # panels wider than this many heights stand below each other
_SLOWNESS = 0.9  # share of the earlier range of depths that a video's next frame keeps


@dataclass(frozen=True)
class PredictionStyle:
    """How predictions are drawn.

    Attributes:
        names: classes of the objects.
        label_names: classes of the labels.
        color_by: what has a colour of its own among the objects.
        depth_kind: see :data:`DepthKind`.
        depth_range: values at the ends of the depth's colours; None takes those of each picture.
    """

    names: Sequence[str] | None = None
    label_names: Sequence[str] | None = None
    color_by: ColorBy = "class"
    depth_kind: DepthKind = "metric"
    depth_range: tuple[float, float] | None = None


class PredictionPainter:
    """Draws objects on the image, depth in colours with a scale, and labels over the image with a legend, side by side.

    Args:
        style: see :class:`PredictionStyle`.
        steady: the pictures are frames of a video: legends keep their order and width, and the range of depths moves
            slowly.
    """

    def __init__(self, style: PredictionStyle, steady: bool = False) -> None:
        self._style, self._steady = style, steady
        self._range = style.depth_range
        self._legend_width = {"depth": 0, "sem_seg": 0}

    def draw(self, image: np.ndarray, output: Mapping[str, Any]) -> np.ndarray:
        """One picture of one image.

        Args:
            image: H x W x 3 uint8 RGB.
            output: of the model for this image: ``instances``, ``depth`` (H x W) and ``sem_seg`` (H x W), or some of
                them. Depth alone gets the image beside it.

        Returns:
            H' x W' x 3 uint8 RGB.
        """
        panels = []
        if "instances" in output:
            style = self._style
            panels.append(draw_instances(image, output["instances"], style.names, color_by=style.color_by))
        elif "sem_seg" not in output:
            panels.append(enlarge(image, _LEAST_SIDE)[0])
        if "depth" in output:
            panels.append(self._depth(image, _array(output["depth"])))
        if "sem_seg" in output:
            panels.append(self._labels(image, _array(output["sem_seg"])))
        if image.shape[1] <= _WIDE * image.shape[0] or len(panels) == 1:
            return in_a_row(panels)
        widest = max(panel.shape[1] for panel in panels)
        return np.concatenate([padded(panel, widest) for panel in panels])

    def _depth(self, image: np.ndarray, depth: np.ndarray) -> np.ndarray:
        height, width = enlarge(image, _LEAST_SIDE)[0].shape[:2]
        shown = fit_map(depth, np.ones(depth.shape, dtype=bool), width, height)[0]
        near, far = self._ends(depth)
        picture = depth_to_rgb(shown, near, far, kind=self._style.depth_kind, legend_width=self._legend_width["depth"])
        if self._steady:
            self._legend_width["depth"] = picture.shape[1] - width
        return picture

    def _ends(self, depth: np.ndarray) -> tuple[float, float]:
        """Values at the ends of the colours."""
        if self._style.depth_range is not None:
            return self._style.depth_range
        low, high = np.percentile(depth, [1, 99]).tolist()
        if self._steady and self._range is not None:
            low, high = (_SLOWNESS * old + (1 - _SLOWNESS) * new for old, new in zip(self._range, (low, high)))
        self._range = (low, high)
        return low, max(high, low + 0.01 * abs(low) + 1e-6)

    def _labels(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        names = self._style.label_names
        picture = overlay_sem_seg(image, labels, legend=False, min_side=_LEAST_SIDE)
        size = font_size(*picture.shape[:2])
        present, counts = np.unique(labels, return_counts=True)
        order = present if self._steady else present[np.argsort(-counts, kind="stable")]
        if self._steady and names and not self._legend_width["sem_seg"]:
            self._legend_width["sem_seg"] = class_column(range(len(names)), names, 2 * size * len(names), size).shape[1]
        legend = class_column(order.tolist(), names, len(picture), size, self._legend_width["sem_seg"])
        return np.concatenate([picture, legend], axis=1)


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.numpy() if isinstance(values, Tensor) else values
