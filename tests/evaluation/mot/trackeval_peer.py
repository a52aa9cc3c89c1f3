"""The published evaluation code on files written by a test, where it is installed."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

CODE = "trackeval"  # pip install --no-deps trackeval==1.3.0: its opencv-python would clash with opencv-python-headless
METRICS = ("HOTA", "CLEAR", "Identity")


def peer() -> Any:
    """The module; the test is skipped where it is not installed."""
    return pytest.importorskip(CODE, reason="trackeval is not installed (pip install --no-deps trackeval==1.3.0)")


def evaluate(dataset: str, **config: Any) -> dict[str, dict[str, dict[str, float]]]:
    """Class -> sequence -> metric of trackeval's data set class; arrays are averaged, curves are "<name> curve"."""
    module = peer()
    quiet = {"PRINT_CONFIG": False, "PRINT_RESULTS": False, "TIME_PROGRESS": False, "OUTPUT_SUMMARY": False,
             "OUTPUT_DETAILED": False, "PLOT_CURVES": False, "OUTPUT_EMPTY_CLASSES": False, "BREAK_ON_ERROR": True,
             "LOG_ON_ERROR": None, "USE_PARALLEL": False}  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        data = getattr(module.datasets, dataset)({"PRINT_CONFIG": False, "TRACKERS_TO_EVAL": ["ours"], **config})
        metrics = [
            getattr(module.metrics, name)(*([] if name == "HOTA" else [{"PRINT_CONFIG": False}])) for name in METRICS
        ]
        results, _ = module.Evaluator(quiet).evaluate([data], metrics)
    (found,) = results.values()
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for sequence, classes in found["ours"].items():
        for label, families in classes.items():
            values = {k: v for name in (*METRICS, "Count") for k, v in families[name].items() if k != "Frames"}
            row = {k: float(np.mean(v)) for k, v in values.items()}
            row |= {f"{k} curve": v for k, v in values.items() if np.ndim(v)}
            scores.setdefault(label, {})["COMBINED" if sequence == "COMBINED_SEQ" else sequence] = row
    return scores


def assert_same(ours: Any, theirs: dict[str, dict[str, dict[str, float]]], tolerance: float = 1e-9) -> None:
    """Every number of trackeval against a table of scores."""
    compared = 0
    assert set(ours) == set(theirs)
    for label, rows in theirs.items():
        assert set(ours[label]) == set(rows)
        for name, values in rows.items():
            metrics, curves = ours[label][name].metrics(), ours[label][name].curves()
            for key, value in values.items():
                mine = curves[key.removesuffix(" curve")] if key.endswith(" curve") else metrics[key]
                np.testing.assert_allclose(mine, value, rtol=0, atol=tolerance, err_msg=f"{label} {name} {key}")
                compared += 1
    assert compared >= 50
