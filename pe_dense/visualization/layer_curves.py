"""Scores over the layers of an encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pe_dense.visualization.curves import checked_picture

_LINE = (0.0, 0.45, 0.70)
_BEST = (0.84, 0.37, 0.0)
_LAST = (0.35, 0.35, 0.35)


@dataclass(frozen=True)
class LayerCurve:
    """One panel.

    Attributes:
        name: label of the vertical axis.
        values: by layer; NaN where there is none.
        best: layer to mark as best, if any.
        lower_is_better: the axis says so.
    """

    name: str
    values: Mapping[int, float]
    best: int | None = None
    lower_is_better: bool = False


def plot_layers(curves: list[LayerCurve], output: str | Path, title: str = "") -> Path:
    """Draw each curve over the layers, with the best and the last layer marked as in PE's figure of its layers.

    Args:
        curves: at least one; a panel each, two in a row.
        output: picture to write (.png, .pdf, .svg); its folder is made if need be.
        title: above all panels.

    Returns:
        ``output`` as a path.

    Raises:
        ValueError: if the picture's type is unknown, or a curve has no number.
    """
    path = checked_picture(output)
    empty = [c.name for c in curves if not any(math.isfinite(v) for v in c.values.values())]
    if empty or not curves:
        raise ValueError(f"{', '.join(empty) or 'the list of curves'}: there is no number to draw")
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(6.5 * columns, 4 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, curve in zip(panels, curves):
        _draw(axis, curve)
    for axis in panels[len(curves) :]:
        axis.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=13)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _draw(axis: Axes, curve: LayerCurve) -> None:
    layers = np.array(sorted(curve.values))
    values = np.array([curve.values[layer] for layer in layers])
    axis.plot(layers, values, color=_LINE, marker="o", markersize=4, linewidth=1.5, clip_on=False)
    last = int(layers[-1])
    marked = [layer for layer in (last, curve.best) if layer is not None and math.isfinite(curve.values[layer])]
    texts = _told_apart([curve.values[layer] for layer in marked])
    if curve.best is not None and last in marked and curve.best != last:
        _mark(axis, last, curve.values[last], f"last: {texts[0]}", _LAST, "s")
    if curve.best is not None:
        what = "best and last" if curve.best == last else f"best, layer {curve.best}"
        _mark(axis, curve.best, curve.values[curve.best], f"{what}: {texts[-1]}", _BEST, "*")
    axis.set_xlabel("layer")
    axis.set_ylabel(f"{curve.name} (lower is better)" if curve.lower_is_better else curve.name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.margins(x=0.06, y=0.12)
    if not np.nan_to_num(values).any():
        axis.set_ylim(0, 1)  # nothing of it anywhere: no axis of tiny numbers around 0
    else:
        _widen(axis, values[np.isfinite(values)])
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    if curve.best is not None:
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9, frameon=False)


def _told_apart(values: list[float]) -> list[str]:
    """The values with four digits, or as many as it takes to tell different ones apart."""
    for digits in range(4, 18):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def _widen(axis: Axes, values: np.ndarray) -> None:
    """Show at least a fiftieth of the values' size, so that what hardly differs does not look as if it did."""
    low, high = axis.get_ylim()
    least = float(np.abs(values).max()) / 50
    if high - low < least:
        middle = (low + high) / 2
        axis.set_ylim(middle - least / 2, middle + least / 2)


def _mark(axis: Axes, layer: int, value: float, label: str, color: tuple[float, float, float], marker: str) -> None:
    size = {"*": 16, "s": 8}[marker]
    axis.plot(
        [layer], [value], linestyle="", marker=marker, markersize=size, color=color, label=label, zorder=3,
        markeredgecolor="white",
    )  # fmt: skip
    axis.axvline(layer, color=color, linewidth=1, linestyle=":", zorder=0)
