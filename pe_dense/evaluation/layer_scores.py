"""Numbers per layer of an encoder: the best layer, a table, and files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOWER_IS_BETTER = frozenset({"abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "J_decay", "F_decay"})
HEADLINES = (
    "depth/rmse", "sem_seg/mIoU", "bbox/AP", "classification/top1", "knn/top1", "vos/J&F", "vos/J", "vos/F",
)  # fmt: skip
"""What the picture shows of each task, as in PE's figure."""

_KEY = re.compile(r"layer_(\d+)/(.+)")
_WIDEST = 110  # characters of a row of the table
_COUNTS = ("images", "skipped", "sequences", "objects", "frames")


@dataclass(frozen=True)
class LayerScores:
    """Scores of layers.

    Attributes:
        scores: metric to layer to value; NaN where there is none.
        ranked: whether values are good or bad; otherwise no layer is the best.
    """

    scores: Mapping[str, Mapping[int, float]]
    ranked: bool = True

    @classmethod
    def from_results(cls, results: Mapping[str, float]) -> LayerScores:
        """From what :class:`LayerEvaluator` gives; results of other names are left out.

        Raises:
            ValueError: if there is none of its names.
        """
        scores: dict[str, dict[int, float]] = {}
        for key, value in results.items():
            found = _KEY.fullmatch(key)
            if found is not None and found[2].rpartition("/")[2] not in _COUNTS:
                scores.setdefault(found[2], {})[int(found[1])] = value
        if not scores:
            raise ValueError(
                f"the results ({', '.join(results) or 'none'}) are not those of layers: use a LayerEvaluator"
            )
        return cls(scores)

    @property
    def layers(self) -> list[int]:
        """All layers, ascending."""
        return sorted({layer for values in self.scores.values() for layer in values})

    @property
    def headlines(self) -> list[str]:
        """The metrics to draw: the known ones, else the first."""
        return [name for name in HEADLINES if name in self.scores] or list(self.scores)[:1]

    def best(self, metric: str) -> int | None:
        """The layer with the best value, the first of equals; ``None`` if no value is a number, or none is better.

        Raises:
            ValueError: if the metric is unknown.
        """
        self.check(metric)
        if not self.ranked:
            return None
        sign = -1 if lower_is_better(metric) else 1
        ranked = {layer: sign * value for layer, value in self.scores[metric].items() if not math.isnan(value)}
        return max(ranked, key=lambda layer: (ranked[layer], -layer)) if ranked else None

    def check(self, metric: str) -> None:
        """Raise a ValueError if there is no such metric."""
        if metric not in self.scores:
            raise ValueError(f"metric {metric} is unknown: choose one of {', '.join(self.scores)}")

    def table(self, metrics: Sequence[str] | None = None) -> str:
        """A line per layer for a terminal, the best of each column marked with a star; many columns in several blocks.

        Values that look like the best one have a star too; where all look alike, none has.

        Args:
            metrics: the columns; ``None`` takes all but recalls.
        """
        names = [m for m in self.scores if "/AR" not in m] if metrics is None else list(metrics)
        layers = [str(layer) for layer in self.layers]
        columns = [_column(["layer", *layers])]
        for name in names:
            cells = [_number(name, self.scores[name].get(layer, math.nan)) for layer in self.layers]
            best = self.best(name)
            starred = cells[self.layers.index(best)] if best is not None and len(set(cells)) > 1 else None
            columns.append(_column([f"{name} ", *(cell + ("*" if cell == starred else " ") for cell in cells)]))
        return "\n\n".join("\n".join(map(str.rstrip, map("  ".join, zip(*block)))) for block in _blocks(columns))

    def to_json(self) -> str:
        """``{"best": {metric: layer}, "layers": {layer: {metric: value}}}``, null where there is no number."""
        plain = {
            str(layer): {name: _finite(values.get(layer, math.nan)) for name, values in self.scores.items()}
            for layer in self.layers
        }
        best = {"best": {name: self.best(name) for name in self.scores}} if self.ranked else {}
        return json.dumps({**best, "layers": plain}, indent=1) + "\n"

    def to_csv(self) -> str:
        """A row per layer, a column per metric; empty where there is no number."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["layer", *self.scores])
        for layer in self.layers:
            values = (_finite(v.get(layer, math.nan)) for v in self.scores.values())
            writer.writerow([layer, *("" if value is None else repr(value) for value in values)])
        return text.getvalue()

    def save(self, stem: str | Path) -> list[Path]:
        """Write ``<stem>.json`` and ``<stem>.csv``, each in one go; their folder is made if need be."""
        paths = [Path(f"{stem}{suffix}") for suffix in (".json", ".csv")]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, (self.to_json(), self.to_csv())):
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        return paths


def lower_is_better(metric: str) -> bool:
    """Whether a metric such as "depth/rmse" is an error."""
    return metric.rpartition("/")[2] in LOWER_IS_BETTER


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(metric: str, value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if metric.startswith("depth/") else f"{value:.2f}"


def _column(cells: Sequence[str]) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def _blocks(columns: Sequence[list[str]]) -> list[list[list[str]]]:
    """As many columns side by side as a terminal is likely to show, the first one in each block."""
    blocks = [[columns[0]]]
    for column in columns[1:]:
        if len(blocks[-1]) > 1 and sum(len(c[0]) + 2 for c in [*blocks[-1], column]) > _WIDEST:
            blocks.append([columns[0]])
        blocks[-1].append(column)
    return blocks
