"""Metrics as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_LINES = (  # metrics that share a line, in this order; what is in none of them follows on one of its own
    ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"),
    ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"),
    ("delta1", "delta2", "delta3", "images", "skipped"),
    ("mIoU", "mAcc", "aAcc", "mBIoU", "images", "skipped"),
    ("J&F", "J", "J_recall", "J_decay", "F", "F_recall", "F_decay"),
    ("G", "J_seen", "F_seen", "J_unseen", "F_unseen"),
    ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR"),
    ("FP", "FN", "IDSW", "tracks", "MT", "PT", "ML", "Frag"),
    ("sequences", "objects", "frames"),
)
_PER_CLASS = ("AP", "IoU", "BIoU")
_PER_OBJECT = ("J&F", "J", "F")
_COUNTS = (
    "images", "skipped", "sequences", "objects", "frames", "FP", "FN", "IDSW", "tracks", "MT", "PT", "ML", "Frag",
)  # fmt: skip
_FINE = ("depth",)  # tasks whose numbers are no percentages
_WIDTH = 80


def is_per_class(key: str) -> bool:
    """Whether a result such as "bbox/AP-cat" is of one class, or "vos/J-dog_1" of one object."""
    return _split(key)[2] is not None


def distinct_names(names: Sequence[str], ids: Sequence[int]) -> list[str]:
    """Names of classes for the keys of results: one that occurs more than once gets its id added."""
    return [name if names.count(name) == 1 else f"{name} ({number})" for name, number in zip(names, ids)]


def format_results(metrics: Mapping[str, float], width: int = _WIDTH) -> str:
    """Tables of precision and of recall with one line per task, then one of the classes in as many columns as fit.

    Args:
        metrics: "task/metric" -> value; "task/AP-<class>", "task/IoU-<class>" and "task/BIoU-<class>" go into the table
            of classes, and so do J and F of objects in videos.
        width: characters per line.

    Returns:
        Lines without a final line break; "-" stands for NaN.
    """
    tasks: dict[str, dict[str, float]] = {}
    classes: dict[str, dict[str, float]] = {}
    columns: dict[str, None] = {}
    for key, value in metrics.items():
        task, name, label = _split(key)
        if label is not None:
            columns[f"{task} {name}"] = None
            classes.setdefault(label, {})[f"{task} {name}"] = value
        else:
            tasks.setdefault(task, {})[name] = value
    parts = [_summary(tasks)]
    if classes:
        parts.append(_class_table(classes, list(columns), width))
    return "\n\n".join(part for part in parts if part)


def _split(key: str) -> tuple[str, str, str | None]:
    """Task, metric and class (which may contain any character) of a key."""
    task, slash, name = key.partition("/")
    metric, dash, label = name.partition("-")
    if slash and dash and metric in (*_PER_CLASS, *_PER_OBJECT):
        return task, metric, label
    task, _, name = key.rpartition("/")
    return task, name, None


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _summary(tasks: Mapping[str, Mapping[str, float]]) -> str:
    """Lines of metrics that belong together, a line per task; metrics that are not known get a line of their own."""
    blocks: dict[tuple[str, ...], list[list[str]]] = {}
    for task, values in tasks.items():
        lines = [tuple(n for n in line if n in values) for line in _LINES if line[0] in values]
        lines.append(tuple(n for n in values if n.startswith("AR")))
        known = {n for line in lines for n in line}
        for names in (*lines, tuple(n for n in values if n not in known)):
            if names:
                digits = [0 if n in _COUNTS else 4 if task.rpartition("/")[2] in _FINE else 2 for n in names]
                row = [task, *(_number(values[n], d) for n, d in zip(names, digits))]
                blocks.setdefault(names, []).append(row)
    return "\n\n".join(text_table([["task", *names], *rows]) for names, rows in blocks.items())


def _class_table(classes: Mapping[str, Mapping[str, float]], columns: Sequence[str], width: int) -> str:
    """Classes downwards, then across."""
    header = ["object" if all(c.rpartition(" ")[2] in _PER_OBJECT for c in columns) else "class", *columns]
    cells = [[_shorten(name), *(_number(values.get(c)) for c in columns)] for name, values in classes.items()]
    widths = [max(len(r[i]) for r in [header, *cells]) for i in range(len(header))]
    block = sum(widths) + 2 * (len(widths) - 1)
    across = max(1, min((width + 5) // (block + 5), -(-len(cells) // 4)))
    down = -(-len(cells) // across)
    parts = [text_table([header, *cells[i : i + down]], widths).split("\n") for i in range(0, len(cells), down)]
    lines = []
    for row in range(down + 2):
        joint = "─┼─" if row == 1 else " │ "
        side = "─" if row == 1 else " "
        pieces = [c[row] if row < len(c) else " " * block for c in parts]
        lines.append(f"{side}{joint}{side}".join(pieces).rstrip())
    return "\n".join(lines)


def _shorten(name: str, limit: int = 32) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def text_table(rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> str:
    """First column to the left, numbers to the right, a rule under the first row."""
    widths = widths or [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([r[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(r[1:], widths[1:]))]) for r in rows]
    lines.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)
