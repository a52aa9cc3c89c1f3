"""Interleaved timing, so that a disturbance hits all candidates alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

Row = dict[str, Any]


def interleaved(candidates: dict[str, Callable[[], object]], repeats: int, warmup: int = 1) -> dict[str, float]:
    """Median seconds of each candidate over ``repeats`` rounds in which every candidate runs once."""
    for _ in range(warmup):
        for run in candidates.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def ratio_row(
    what: str, against: str, ours: float, theirs: float, target: float, unit: str = "s", note: str = ""
) -> Row:
    """One line of the table; the ratio is how many times better ours is (less time or memory)."""
    return {
        "what": what,
        "against": against,
        "ours": ours,
        "theirs": theirs,
        "unit": unit,
        "ratio": theirs / ours,
        "target": target,
        "note": note,
    }
