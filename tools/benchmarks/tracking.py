"""Tracking evaluation against trackeval, from the same files to the same numbers."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.timing import Row, interleaved, ratio_row

from pe_dense.data.mot import (
    SequenceInfo,
    find_mot_sequences,
    match_results,
    write_mot_ground_truth,
    write_mot_results,
    write_seqinfo,
)
from pe_dense.evaluation import mot
from pe_dense.structures import Tracks

FRAMES, OBJECTS = 1050, 45  # MOT17-04: 1050 frames, 45 pedestrians a frame
HEIGHT, WIDTH = 1080, 1920


def run(quick: bool) -> Iterator[Row]:
    """One row; none, with a line on stderr, where trackeval is not installed. ``quick`` takes a tenth of the frames."""
    if importlib.util.find_spec("trackeval") is None:
        print("tracking evaluation is not compared: trackeval is not installed "
              "(pip install --no-deps trackeval==1.3.0 tabulate)", file=sys.stderr)  # fmt: skip
        return
    frames, repeats = (FRAMES // 10, 1) if quick else (FRAMES, 5)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_case(root, frames)
        found: dict[str, dict[str, float]] = {}
        candidates = {
            "ours": lambda: found.update(ours=_ours(root)),
            "theirs": lambda: found.update(theirs=_trackeval(root)),
        }
        seconds = interleaved(candidates, repeats, warmup=0 if quick else 1)
    difference = max(abs(found["ours"][k] - v) for k, v in found["theirs"].items())
    yield ratio_row(
        f"tracking evaluation, {frames} frames x {OBJECTS}: files to HOTA, CLEAR, identity", "trackeval",
        seconds["ours"], seconds["theirs"], 3.0,
        note=f"largest difference of the {len(found['theirs'])} numbers {difference:.0e}",
    )  # fmt: skip


def write_case(root: Path, frames: int, seed: int = 0) -> None:
    """Write TrackEval's tree with one crowded sequence of walking people and a tracker with misses and switches."""
    rng = np.random.default_rng(seed)
    truth = _walkers(rng, frames)
    kept = truth[rng.random(len(truth)) < 0.85]
    sizes = np.tile(kept.boxes[:, 2:] - kept.boxes[:, :2], 2)
    boxes = kept.boxes + rng.normal(0, 0.05, kept.boxes.shape) * sizes
    ids = kept.ids * 100 + kept.frames // (40 + kept.ids % 97)  # every track breaks now and then
    false = _walkers(rng, frames, 4)
    results = Tracks.cat(
        [
            Tracks.create(kept.frames, boxes, ids, scores=rng.random(len(kept))),
            Tracks.create(false.frames, false.boxes, false.ids + 1_000_000),
        ]
    )
    write_mot_ground_truth(root / "gt/MOT17-train/S/gt/gt.txt", truth)
    write_seqinfo(root / "gt/MOT17-train/S/seqinfo.ini", SequenceInfo("S", frames, width=WIDTH, height=HEIGHT))
    (root / "gt/seqmaps").mkdir()
    (root / "gt/seqmaps/MOT17-train.txt").write_text("name\nS\n")
    write_mot_results(root / "trackers/MOT17-train/ours/data/S.txt", results)


def _walkers(rng: np.random.Generator, frames: int, objects: int = OBJECTS, life: int = 300) -> Tracks:
    """People of whom ``objects`` are visible at a time; one in eight is static or a distractor."""
    parts = []
    for number in range(max(1, round(objects * (frames + life) / life))):
        start = rng.integers(-life, frames)
        times = np.arange(max(0, start), min(frames, start + life))
        height = rng.uniform(80, 350)
        sides = np.array([height * 0.4, height])
        walked = rng.normal(0, 1.5, 2) * (times - start)[:, None]
        corner = rng.uniform(0, [WIDTH, HEIGHT] - sides) + walked
        boxes = np.concatenate([corner, corner + sides], axis=1).round()
        kind = int(rng.choice([1, 7, 8], p=[0.875, 0.075, 0.05]))
        parts.append(
            Tracks.create(times, boxes, np.full(len(times), number + 1), classes=np.full(len(times), kind),
                          ignored=np.full(len(times), kind != 1))
        )  # fmt: skip
    return Tracks.cat(parts)


def _ours(root: Path) -> dict[str, float]:
    sequences = find_mot_sequences(root / "gt/MOT17-train")
    table = mot.evaluate_tracking(match_results(sequences, root / "trackers/MOT17-train/ours"), mot.MOT17)
    return table["pedestrian"][mot.COMBINED].metrics()


def _trackeval(root: Path) -> dict[str, float]:
    import trackeval

    config: dict[str, Any] = {
        "PRINT_CONFIG": False, "PRINT_RESULTS": False, "TIME_PROGRESS": False, "OUTPUT_SUMMARY": False,
        "OUTPUT_DETAILED": False, "PLOT_CURVES": False, "BREAK_ON_ERROR": True, "LOG_ON_ERROR": None,
        "USE_PARALLEL": False,
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        data = trackeval.datasets.MotChallenge2DBox({
            "GT_FOLDER": str(root / "gt"), "TRACKERS_FOLDER": str(root / "trackers"), "PRINT_CONFIG": False,
        })  # fmt: skip
        quiet = {"PRINT_CONFIG": False}
        metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
        results, _ = trackeval.Evaluator(config).evaluate([data], metrics)
    families = results["MotChallenge2DBox"]["ours"]["COMBINED_SEQ"]["pedestrian"]
    return {k: float(np.mean(v)) for name in ("HOTA", "CLEAR", "Identity") for k, v in families[name].items()}
