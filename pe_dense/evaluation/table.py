"""Metrics as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_PRECISION = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_WIDTH = 80


def format_results(metrics: Mapping[str, float], width: int = _WIDTH) -> str:
    """Tables of precision and of recall with one line per task, then one of the classes in as many columns as fit.

    Args:
        metrics: "task/metric" -> value; "task/AP-<class>" goes into the table of classes.
        width: characters per line.

    Returns:
        Lines without a final line break; "-" stands for NaN.
    """
    tasks: dict[str, dict[str, float]] = {}
    classes: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        task, _, name = key.rpartition("/") if "/AP-" not in key else key.partition("/")
        if name.startswith("AP-"):
            classes.setdefault(name[3:], {})[task] = value
        else:
            tasks.setdefault(task, {})[name] = value
    parts = [_summary(tasks)]
    if classes:
        parts.append(_class_table(classes, list(tasks), width))
    return "\n\n".join(part for part in parts if part)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _summary(tasks: Mapping[str, Mapping[str, float]]) -> str:
    """One line per task, COCO's AP above its AR; tasks with other metrics get all of theirs."""
    blocks: dict[tuple[str, ...], list[list[str]]] = {}
    for task, values in tasks.items():
        precision = tuple(n for n in _PRECISION if n in values)
        recall = tuple(n for n in values if n.startswith("AR"))
        for names in (precision, recall) if precision else (tuple(values),):
            if names:
                blocks.setdefault(names, []).append([task, *(_number(values[n]) for n in names)])
    return "\n\n".join(_table([["task", *names], *rows]) for names, rows in blocks.items())


def _class_table(classes: Mapping[str, Mapping[str, float]], tasks: Sequence[str], width: int) -> str:
    """Classes downwards, then across."""
    tasks = [t for t in tasks if any(t in values for values in classes.values())]
    header = ["class", *(f"{t} AP" for t in tasks)]
    cells = [[_shorten(name), *(_number(values.get(t)) for t in tasks)] for name, values in classes.items()]
    widths = [max(len(r[i]) for r in [header, *cells]) for i in range(len(header))]
    block = sum(widths) + 2 * (len(widths) - 1)
    across = max(1, min((width + 5) // (block + 5), -(-len(cells) // 4)))
    down = -(-len(cells) // across)
    columns = [_table([header, *cells[i : i + down]], widths).split("\n") for i in range(0, len(cells), down)]
    lines = []
    for row in range(down + 2):
        joint = "─┼─" if row == 1 else " │ "
        side = "─" if row == 1 else " "
        pieces = [c[row] if row < len(c) else " " * block for c in columns]
        lines.append(f"{side}{joint}{side}".join(pieces).rstrip())
    return "\n".join(lines)


def _shorten(name: str, limit: int = 32) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _table(rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> str:
    """First column to the left, numbers to the right, a rule under the first row."""
    widths = widths or [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([r[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(r[1:], widths[1:]))]) for r in rows]
    lines.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)
