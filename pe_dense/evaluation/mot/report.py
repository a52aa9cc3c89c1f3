"""Tracking scores as text, json and csv."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from pe_dense.evaluation.mot.hota import ALPHAS
from pe_dense.evaluation.mot.scores import ScoreTable
from pe_dense.evaluation.table import text_table

_RATES = (
    ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR"),
    ("DetRe", "DetPr", "AssRe", "AssPr", "CLR_Re", "CLR_Pr", "sMOTA"),
)
_COUNTS = {
    "GT": "GT_Dets", "TP": "CLR_TP", "FP": "CLR_FP", "FN": "CLR_FN", "IDSW": "IDSW", "tracks": "GT_IDs", "MT": "MT",
    "PT": "PT", "ML": "ML", "Frag": "Frag",
}  # fmt: skip
_LONGEST = 24


def format_tracking(table: ScoreTable, detailed: bool = False) -> str:
    """Tables with a line a sequence: metrics in percent, then counts; ``detailed`` adds recalls and precisions."""
    parts = []
    for label, rows in table.items():
        metrics = {_shorten(name): scores.metrics() for name, scores in rows.items()}
        for names in _RATES[: 1 + detailed]:
            lines = [[name, *(f"{100 * values[n]:.2f}" for n in names)] for name, values in metrics.items()]
            parts.append(text_table([[label, *names], *_ruled(lines)]))
        lines = [[name, *(str(int(values[key])) for key in _COUNTS.values())] for name, values in metrics.items()]
        parts.append(text_table([["", *_COUNTS], *_ruled(lines)]))
    return "\n\n".join(parts)


def _ruled(lines: list[list[str]]) -> list[list[str]]:
    """All sequences together are a line of their own only if there are several."""
    return lines if len(lines) != 2 else lines[:1]


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def as_json(table: ScoreTable) -> dict[str, Any]:
    """Class -> sequence -> metric, as fractions, with the curves over the thresholds under "curves"."""
    return {
        label: {
            name: {
                **scores.metrics(),
                "curves": {
                    "alpha": ALPHAS.round(2).tolist(),
                    **{key: values.tolist() for key, values in scores.curves().items()},
                },
            }
            for name, scores in rows.items()
        }
        for label, rows in table.items()
    }


def write_scores(table: ScoreTable, path: str | Path) -> None:
    """Write all numbers, as fractions: to a ``.csv`` a row a class and sequence, to any other file json with curves."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() != ".csv":
        file.write_text(json.dumps(as_json(table), indent=2) + "\n", encoding="utf-8")
        return
    rows = [
        {"class": label, "sequence": name, **scores.metrics()}
        for label, sequences in table.items()
        for name, scores in sequences.items()
    ]
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
