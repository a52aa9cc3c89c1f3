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

from pe_dense.visualization.colors import palette_color

logger = logging.getLogger(__name__)

_LINES = ("-", "--", ":", "-.")


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

    Args:
        run_dirs: run directories with ``metrics.jsonl``.
        output: picture to write (.png, .pdf, .svg); its folder is made if need be.
        smoothing: records in the running mean of losses and times (drawn over the raw values).

    Returns:
        ``output`` as a path.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_metrics`.
    """
    folders = [run_dirs] if isinstance(run_dirs, (str, Path)) else list(run_dirs)
    runs = _distinct_names([read_metrics(folder) for folder in folders], folders)
    figure = Figure(figsize=(13, 8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2).ravel()
    _plot_losses(axes[0], runs, smoothing)
    _plot_evaluation(axes[1], runs)
    _plot_training(axes[2], runs, ("lr",), "learning rate", 1)
    _plot_training(axes[3], runs, ("step_time", "data_time"), "seconds per step", smoothing)
    if len(runs) == 1:
        figure.suptitle(runs[0].name, fontsize=13)
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)
    return output


def _distinct_names(runs: list[RunMetrics], folders: Sequence[str | Path]) -> list[RunMetrics]:
    """Runs whose folders have the same name are told apart by the whole path."""
    names = [run.name for run in runs]
    return [
        RunMetrics(str(folder), run.training, run.evaluation) if names.count(run.name) > 1 else run
        for run, folder in zip(runs, folders)
    ]


def _series(records: Sequence[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the records that have a number under ``key``."""
    rows = [(r["step"], r[key]) for r in records if isinstance(r.get(key), (int, float))]
    table = np.array(rows, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last ``window`` values, fewer at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(0, stop - max(1, min(window, len(values) // 4)))
    return (total[stop] - total[start]) / (stop - start)


def _plot_smooth(axis: Axes, steps: np.ndarray, values: np.ndarray, window: int, **style: Any) -> None:
    if not len(steps):
        return
    lone: dict[str, Any] = {"marker": "o", "markersize": 3} if len(steps) < 3 else {}
    if window > 1 and len(steps) > 8:
        axis.plot(steps, values, color=style["color"], linewidth=0.6, alpha=0.3)
        values = _running_mean(values, window)
    axis.plot(steps, values, linewidth=1.5, **style, **lone)


def _rgb(index: int) -> tuple[float, float, float]:
    red, green, blue = palette_color(index)
    # the lightest colours of the palette do not show on white paper
    dim = 0.8 if red + green + blue > 480 else 1.0
    return red / 255 * dim, green / 255 * dim, blue / 255 * dim


def _finish(axis: Axes, label: str) -> None:
    axis.set_xlabel("step")
    axis.set_ylabel(label)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    handles, _ = axis.get_legend_handles_labels()
    if handles:
        axis.legend(fontsize=8, frameon=False)
    else:
        axis.text(0.5, 0.5, "not logged", transform=axis.transAxes, ha="center", va="center", color="0.5")


def _plot_losses(axis: Axes, runs: Sequence[RunMetrics], window: int) -> None:
    """One run: the total and each part; several runs: the total of each."""
    if len(runs) > 1:
        for index, run in enumerate(runs):
            _plot_smooth(axis, *_series(run.training, "loss"), window, color=_rgb(index), label=run.name)
    else:
        parts = sorted({k for r in runs[0].training for k in r if k.startswith("loss_")})
        _plot_smooth(axis, *_series(runs[0].training, "loss"), window, color=(0.1, 0.1, 0.1), label="total")
        for index, part in enumerate(parts):
            label = part.removeprefix("loss_")
            _plot_smooth(axis, *_series(runs[0].training, part), window, color=_rgb(index), label=label)
    _finish(axis, "loss")


def _plot_evaluation(axis: Axes, runs: Sequence[RunMetrics]) -> None:
    """One run: AP and AP50, a task has one colour. Several runs: AP, a run has one colour, a task one kind of line."""
    keys = sorted({k for run in runs for r in run.evaluation for k in r if _is_headline(k, several=len(runs) > 1)})
    tasks = sorted({k.split("/")[0] for k in keys})
    for index, run in enumerate(runs):
        for key in keys:
            task, metric = key.split("/", 1)
            if len(runs) > 1:
                color, line, label = _rgb(index), tasks.index(task), f"{run.name}: {task} {metric}"
            else:
                color, line, label = _rgb(tasks.index(task)), int(metric != "AP"), f"{task} {metric}"
            steps, values = _series(run.evaluation, key)
            if len(steps):
                style: dict[str, Any] = {
                    "color": color,
                    "label": f"{label} ({values[-1]:.1f})",
                    "marker": "o",
                    "markersize": 3,
                }
                axis.plot(steps, values, _LINES[line % len(_LINES)], linewidth=1.5, **style)
    axis.set_ylim(bottom=0)
    _finish(axis, "average precision (last value)")


def _is_headline(key: str, several: bool) -> bool:
    """Per-class values, sizes, recalls and, of several runs, other thresholds would crowd the picture."""
    return key.rpartition("/")[2] in (("AP",) if several else ("AP", "AP50")) and "/" in key


def _plot_training(axis: Axes, runs: Sequence[RunMetrics], keys: Sequence[str], label: str, window: int) -> None:
    """A run has one colour, a quantity one kind of line."""
    for index, run in enumerate(runs):
        for line, key in zip(_LINES, keys):
            name = key if len(runs) == 1 else f"{run.name}: {key}"
            _plot_smooth(axis, *_series(run.training, key), window, color=_rgb(index), linestyle=line, label=name)
    _finish(axis, label)
