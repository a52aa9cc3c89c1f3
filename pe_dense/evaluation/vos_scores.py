"""From J and F of frames to the numbers of objects and of a data set, and their tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from pe_dense.evaluation.segmentation import mean_of_present

_BINS = 4  # quarters of a sequence, of which decay compares the first and the last
_MEASURES = ("J", "F")


class Statistics(NamedTuple):
    """DAVIS's three numbers of a measure over the frames of a sequence."""

    mean: float
    recall: float
    decay: float


def sequence_statistics(values: np.ndarray) -> Statistics:
    """Mean, recall and decay of a measure (Perazzi et al. 2016, section 4.2).

    The quarters that decay compares share their border frames, as in DAVIS's code; its frame numbers are 8-bit and
    wrong from 256 frames on, these are not.

    Args:
        values: T numbers, one per frame, NaN for frames without one.

    Returns:
        The mean (without NaN), the share of frames strictly above 0.5 (NaN is below), and the mean of the first quarter
        minus that of the last.

    Raises:
        ValueError: if there is no frame.
    """
    if not len(values):
        raise ValueError("a sequence without a scored frame has no statistics")
    edges = np.round(np.linspace(1, len(values), _BINS + 1) + 1e-10).astype(int) - 1
    first, last = values[: edges[1] + 1], values[edges[-2] : edges[-1] + 1]
    recall = float(np.mean(values > 0.5))
    return Statistics(mean_of_present(values), recall, mean_of_present(first) - mean_of_present(last))


@dataclass(frozen=True)
class ObjectScores:
    """J and F of an object in the frames that count.

    Attributes:
        sequence: its name.
        number: the object's value in the masks.
        frames: T names.
        values: T x 2 float64, J and F from 0 to 1.
        seen: whether its category was seen in training; ``None`` if nobody knows.
    """

    sequence: str
    number: int
    frames: tuple[str, ...]
    values: np.ndarray
    seen: bool | None = None

    @property
    def name(self) -> str:
        """``<sequence>_<number>``, as DAVIS's tables have it."""
        return f"{self.sequence}_{self.number}"

    @cached_property
    def statistics(self) -> tuple[Statistics, Statistics]:
        """Of J and of F."""
        return sequence_statistics(self.values[:, 0]), sequence_statistics(self.values[:, 1])


def vos_metrics(objects: Sequence[ObjectScores]) -> dict[str, float]:
    """The numbers of a data set: each object counts alike, however many a sequence has.

    Returns:
        Percentages: "vos/J&F" (the mean of J and F), "vos/J", "vos/J_recall", "vos/J_decay" and the same of F; if it is
        known of every object whether its category was seen in training, "vos/J_seen", "vos/J_unseen", the same of F,
        and their mean "vos/G" (YouTube-VOS's overall score); "vos/sequences", "vos/objects" and "vos/frames" (a frame
        counts once for each of its objects); and "vos/J&F-<object>", "vos/J-<object>" and "vos/F-<object>" of each.
    """
    numbers = np.array([one.statistics for one in objects])  # N x measures x statistics
    means = 100 * numbers.mean(axis=0)
    metrics: dict[str, float] = {"J&F": means[:, 0].mean()}
    for measure, (mean, recall, decay) in zip(_MEASURES, means):
        metrics |= {measure: mean, f"{measure}_recall": recall, f"{measure}_decay": decay}
    metrics |= _seen_and_unseen(objects, 100 * numbers[:, :, 0])
    metrics["sequences"] = len({one.sequence for one in objects})
    metrics["objects"] = len(objects)
    metrics["frames"] = sum(len(one.frames) for one in objects)
    for one, (j, f) in zip(objects, 100 * numbers[:, :, 0]):
        metrics |= {f"J&F-{one.name}": (j + f) / 2, f"J-{one.name}": j, f"F-{one.name}": f}
    return {f"vos/{key}": float(value) for key, value in metrics.items()}


def write_vos_tables(folder: str | Path, objects: Sequence[ObjectScores]) -> None:
    """Write ``vos.json``, ``global_results.csv`` and ``per-sequence_results.csv``, the latter two as DAVIS's tool does.

    The json holds ``metrics`` (of :func:`vos_metrics`, without the objects) and for each object its statistics and the
    J and F of its frames; all but ``metrics`` is from 0 to 1.

    Raises:
        OSError: if a file cannot be written.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    metrics = {key: value for key, value in vos_metrics(objects).items() if "-" not in key}
    rows = ",\n".join(orjson.dumps(_row(one)).decode() for one in objects)
    head = orjson.dumps(metrics, option=orjson.OPT_INDENT_2).decode()
    (target / "vos.json").write_text(f'{{"metrics": {head},\n"objects": [\n{rows}\n]}}\n', encoding="utf-8")
    names = ["J&F-Mean", *(f"{measure}-{what.title()}" for measure in _MEASURES for what in Statistics._fields)]
    means = np.array([one.statistics for one in objects]).mean(axis=0)
    _write_csv(target / "global_results.csv", names, iter([[means[:, 0].mean(), *means.ravel()]]))
    table = ([one.name, *(statistics.mean for statistics in one.statistics)] for one in objects)
    _write_csv(target / "per-sequence_results.csv", ["Sequence", "J-Mean", "F-Mean"], table)


def _seen_and_unseen(objects: Sequence[ObjectScores], means: np.ndarray) -> dict[str, float]:
    """Of N objects with N x 2 means of J and F."""
    seen = np.array([one.seen is True for one in objects])
    if any(one.seen is None for one in objects) or seen.all() or not seen.any():
        return {}
    parts = {"seen": means[seen].mean(axis=0), "unseen": means[~seen].mean(axis=0)}
    split = {f"{measure}_{part}": values[k] for part, values in parts.items() for k, measure in enumerate(_MEASURES)}
    return {"G": sum(split.values()) / len(split), **split}


def _row(one: ObjectScores) -> dict[str, object]:
    measures = {
        measure: {**statistics._asdict(), "frames": one.values[:, k].tolist()}
        for k, (measure, statistics) in enumerate(zip(_MEASURES, one.statistics))
    }
    return {"sequence": one.sequence, "object": one.number, "seen": one.seen, "frames": list(one.frames), **measures}


def _write_csv(path: Path, header: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{value:.6f}" if isinstance(value, float) else value for value in row])
