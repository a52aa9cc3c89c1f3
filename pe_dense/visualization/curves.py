"""Curves of one or several runs from their metrics.jsonl."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from pe_dense.visualization.colors import palette_color

logger = logging.getLogger(__name__)

_LINES = ("-", "--", ":", "-.")
_MARKERS = dict(zip(_LINES, "os^D"))
_BLACK = (0.1, 0.1, 0.1)
_FORMATS = (".png", ".pdf", ".svg")
_FEW = 8  # points, up to which each is marked
_DISTINCT = 6  # parts of a loss, up to which each has a colour of its own
_LEGEND_WIDTH = 100  # letters
_HANDLE_WIDTH = 8
_LAYOUTS = {1: "a", 2: "ab", 3: "aa;bc", 4: "ab;cd"}  # of so many panels


@dataclass(frozen=True)
class RunMetrics:
    """What a run has logged.

    Attributes:
        name: for the legend.
        training: one dictionary per logged training step, ascending steps.
        evaluation: one per evaluation, ascending steps.
    """

    name: str
    training: list[dict[str, float]]
    evaluation: list[dict[str, float]]


def read_metrics(run_dir: str | Path) -> RunMetrics:
    """Read ``metrics.jsonl`` of a run directory (or such a file itself).

    Of a step that occurs twice (a run that was resumed from an earlier checkpoint) the last record counts. A last line
    that is cut short (the run is going on, or was killed) is left out with a warning.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if another line is not a json object with a ``step``, or there is no record at all.
    """
    path = Path(run_dir)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the output directory of a run that has logged something")
    training: dict[int, dict[str, float]] = {}
    evaluation: dict[int, dict[str, float]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            step = int(record["step"])
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                logger.warning("%s: the last line is incomplete and was left out", path)
                break
            raise ValueError(f"{path}, line {number} is not a json object with a step; remove that line") from None
        target = evaluation if any("/" in key for key in record) else training
        target[step] = {**target.get(step, {}), **record}
    if not training and not evaluation:
        raise ValueError(f"{path} has no record; the run has not logged anything yet")
    name = path.parent.name if path.name == "metrics.jsonl" else path.stem
    return RunMetrics(name or str(path), *([d[s] for s in sorted(d)] for d in (training, evaluation)))


def plot_run(run_dirs: Sequence[str | Path] | str | Path, output: str | Path, smoothing: int = 25) -> Path:
    """Draw loss, AP, learning rate and speed over the steps; several runs share the axes.

    What no run has logged (AP in a run without an evaluator) gets no panel.

    Args:
        run_dirs: run directories with ``metrics.jsonl``.
        output: picture to write (.png, .pdf, .svg); its folder is made if need be.
        smoothing: records in the running mean of losses and times (drawn over the raw values).

    Returns:
        ``output`` as a path.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_metrics`; also if there is no number to draw, or the picture's
            type is unknown.
    """
    folders = [run_dirs] if isinstance(run_dirs, (str, Path)) else list(run_dirs)
    output = checked_picture(output)
    runs = _distinct_names([read_metrics(folder) for folder in folders], folders)
    losses = _losses(runs)
    panels = [
        _Panel("loss", losses, smoothing, logarithmic=len(losses) > _DISTINCT + 1 and _all_positive(losses)),
        _Panel("average precision (last value)", _precisions(runs), percent=True),
        _Panel("learning rate", _quantities(runs, ("lr",))),
        _Panel("seconds per step", _quantities(runs, ("step_time", "data_time")), smoothing),
    ]
    panels = [panel for panel in panels if panel.curves]
    if not panels:
        raise ValueError(f"{', '.join(map(str, folders))}: no finite number has been logged yet; wait for the run")
    figure = Figure(figsize=(13, 8 if len(panels) > 2 else 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic(_LAYOUTS[len(panels)], sharex=True)
    for place, panel in zip("abcd", panels):
        panel.draw(axes[place])
    if len(runs) == 1:
        figure.suptitle(runs[0].name, fontsize=13)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)
    return output


def checked_picture(output: str | Path) -> Path:
    """A path that curves can be written to.

    Raises:
        ValueError: if the picture's type is unknown.
    """
    output = Path(output)
    if output.suffix.lower() not in _FORMATS:
        raise ValueError(f"{output}: cannot write pictures of type '{output.suffix}'; use {', '.join(_FORMATS)}")
    return output


def _distinct_names(runs: list[RunMetrics], folders: Sequence[str | Path]) -> list[RunMetrics]:
    """Runs whose folders have the same name are told apart by the whole path."""
    names = [run.name for run in runs]
    return [
        RunMetrics(str(folder), run.training, run.evaluation) if names.count(run.name) > 1 else run
        for run, folder in zip(runs, folders)
    ]


def _series(records: Sequence[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the records that have a number under ``key``; empty if none of them is finite."""
    rows = [(r["step"], r[key]) for r in records if isinstance(r.get(key), (int, float))]
    table = np.array(rows, dtype=float).reshape(-1, 2)
    if not np.isfinite(table[:, 1]).any():
        table = table[:0]
    return table[:, 0], table[:, 1]


@dataclass(frozen=True)
class _Curve:
    """One line of a panel."""

    steps: np.ndarray
    values: np.ndarray
    label: str
    color: tuple[float, float, float]
    line: str = "-"


@dataclass(frozen=True)
class _Panel:
    """Curves over the steps.

    Attributes:
        label: of the vertical axis.
        curves: at least one.
        window: a running mean of so many records is drawn over the raw values.
        percent: results of evaluations: the axis goes from 0 to 1 at least, and each one is marked.
        logarithmic: the vertical axis.
    """

    label: str
    curves: list[_Curve]
    window: int = 1
    percent: bool = False
    logarithmic: bool = False

    def draw(self, axis: Axes) -> None:
        for curve in self.curves:
            values = curve.values
            if self.window > 1 and len(values) > _FEW:
                axis.plot(curve.steps, values, color=curve.color, linewidth=0.6, alpha=0.3)
                values = _running_mean(values, self.window)
            # a line through few points does not show where they are, and a single point has none
            marker = _MARKERS[curve.line] if self.percent or len(values) <= _FEW else ""
            style: dict[str, Any] = {"linestyle": curve.line, "marker": marker, "markersize": 4, "linewidth": 1.5}
            # a mark on the axis is drawn whole
            axis.plot(curve.steps, values, color=curve.color, label=curve.label, clip_on=not self.percent, **style)
        axis.set_xlabel("step")
        axis.set_ylabel(self.label)
        axis.tick_params(labelbottom=True)
        if self.logarithmic:
            axis.set_yscale("log")
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_formatter("{x:.4g}")  # no common factor above the axis, where the legend is
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if self.percent:
            axis.set_ylim(0, max(1.0, axis.get_ylim()[1]))  # where nothing is found yet: no axis up to 0.05
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        columns = _LEGEND_WIDTH // (_HANDLE_WIDTH + max(len(curve.label) for curve in self.curves))
        columns = max(1, min(columns, len(self.curves)))
        style = {"fontsize": 8, "frameon": False, "columnspacing": 1.2}
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, **style)


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the ``window`` values around each one; fewer at the ends, as many on both sides (no slope bends)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    half = np.minimum(min(window, len(values) // 4) // 2, np.minimum(place, place[::-1]))
    return (total[place + half + 1] - total[place - half]) / (2 * half + 1)


def _rgb(index: int) -> tuple[float, float, float]:
    red, green, blue = palette_color(index)
    # the lightest colours of the palette do not show on white paper
    dim = 0.8 if red + green + blue > 480 else 1.0
    return red / 255 * dim, green / 255 * dim, blue / 255 * dim


def _losses(runs: Sequence[RunMetrics]) -> list[_Curve]:
    """One run: the total and each part; several runs: the total of each.

    Of many parts, those whose names begin alike have one colour, and other kinds of lines.
    """
    if len(runs) > 1:
        curves = [_Curve(*_series(run.training, "loss"), run.name, _rgb(i)) for i, run in enumerate(runs)]
    else:
        # those of several tasks are called depth.loss_sig
        parts = sorted({k for r in runs[0].training for k in r if k.rpartition(".")[2].startswith("loss_")})
        labels = [part.replace("loss_", "") for part in parts]
        groups = [label.split("_")[0] if len(parts) > _DISTINCT else label for label in labels]
        colors = {group: _rgb(index) for index, group in enumerate(dict.fromkeys(groups))}
        lines = [_LINES[groups[:index].count(group) % len(_LINES)] for index, group in enumerate(groups)]
        curves = [_Curve(*_series(runs[0].training, "loss"), "total", _BLACK)]
        curves += [
            _Curve(*_series(runs[0].training, part), label, colors[group], line)
            for part, label, group, line in zip(parts, labels, groups, lines)
        ]
    return [curve for curve in curves if len(curve.steps)]


def _all_positive(curves: Sequence[_Curve]) -> bool:
    return all((curve.values[np.isfinite(curve.values)] > 0).all() for curve in curves)


def _precisions(runs: Sequence[RunMetrics]) -> list[_Curve]:
    """One run: AP and AP50, a task has one colour. Several runs: AP, a run has one colour, a task one kind of line."""
    keys = sorted({k for run in runs for r in run.evaluation for k in r if _is_headline(k, several=len(runs) > 1)})
    tasks = sorted({k.split("/")[0] for k in keys})
    curves = []
    for index, run in enumerate(runs):
        for key in keys:
            task, metric = key.split("/", 1)
            if len(runs) > 1:
                color, line, label = _rgb(index), tasks.index(task), f"{run.name}: {task} {metric}"
            else:
                color, line, label = _rgb(tasks.index(task)), int(metric != "AP"), f"{task} {metric}"
            steps, values = _series(run.evaluation, key)
            if len(steps):
                curves.append(_Curve(steps, values, f"{label} ({values[-1]:.1f})", color, _LINES[line % len(_LINES)]))
    return curves


def _is_headline(key: str, several: bool) -> bool:
    """Per-class values, sizes, recalls and, of several runs, other thresholds would crowd the picture."""
    return key.rpartition("/")[2] in (("AP",) if several else ("AP", "AP50")) and "/" in key


def _quantities(runs: Sequence[RunMetrics], keys: Sequence[str]) -> list[_Curve]:
    """A run has one colour, a quantity one kind of line."""
    curves = [
        _Curve(*_series(run.training, key), key if len(runs) == 1 else f"{run.name}: {key}", _rgb(index), line)
        for index, run in enumerate(runs)
        for line, key in zip(_LINES, keys)
    ]
    return [curve for curve in curves if len(curve.steps)]
