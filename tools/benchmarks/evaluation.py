"""COCO box evaluation against pycocotools, from the same files to the same numbers."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pe_dense.evaluation import evaluate_coco_results
from pe_dense.evaluation.coco import score
from pe_dense.evaluation.detections import Detections
from pe_dense.evaluation.ground_truth import GroundTruth
from pe_dense.evaluation.json_file import read_json

CLASSES, DETECTIONS, OBJECTS_PER_IMAGE = 80, 100, 7.2
HEIGHT, WIDTH = 480, 640


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the benchmark table; ``quick`` takes a tenth of the images."""
    images, repeats = (500, 1) if quick else (5000, 3)
    with tempfile.TemporaryDirectory() as folder:
        truth, results = Path(folder) / "truth.json", Path(folder) / "results.json"
        write_case(truth, results, images)
        ours, theirs = [], []
        for _ in range(repeats):
            ours.append(_ours(truth, results))
            theirs.append(_pycocotools(truth, results))
    difference = max(abs(a - b) for a, b in zip(ours[0]["numbers"], theirs[0]["numbers"]))
    size = f"{images} images x {DETECTIONS}"
    note = f"{CLASSES} classes, largest difference of the 12 numbers {difference:.0e}"
    parts = [
        (f"COCO box evaluation, {size}: files to numbers", "total", 50.0, note),
        (f"COCO box evaluation, {size}: matching and accumulation only", "scoring", None, ""),
    ]
    rows = []
    for what, key, target, text in parts:
        a, b = median(t[key] for t in ours), median(t[key] for t in theirs)
        rows.append({"what": what, "against": "pycocotools", "ours": a, "theirs": b, "ratio": b / a, "target": target,
                     "unit": "s", "note": text})  # fmt: skip
    return rows


def write_case(truth: Path, results: Path, images: int, seed: int = 0) -> None:
    """Write synthetic ground truth and results of COCO val2017's density: 7.2 objects per image, 40% near hits."""
    rng = np.random.default_rng(seed)
    count = round(images * OBJECTS_PER_IMAGE)
    ids = np.sort(rng.choice(600_000, images, replace=False))
    owner = np.sort(rng.integers(0, images, count))
    classes = rng.integers(1, CLASSES + 1, count)
    boxes = _boxes(rng, count)
    crowd = rng.random(count) < 0.01
    annotations = [
        {"id": k + 1, "image_id": int(ids[owner[k]]), "category_id": int(classes[k]), "bbox": boxes[k].tolist(),
         "area": float(boxes[k, 2] * boxes[k, 3]), "iscrowd": int(crowd[k])}
        for k in range(count)
    ]  # fmt: skip
    truth.write_text(json.dumps({
        "images": [{"id": int(i), "height": HEIGHT, "width": WIDTH, "file_name": f"{i:012d}.jpg"} for i in ids],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)],
        "annotations": annotations,
    }))  # fmt: skip

    first, last = np.searchsorted(owner, np.arange(images)), np.searchsorted(owner, np.arange(images), side="right")
    rows = []
    for i in range(images):
        guessed, labels, scores = (
            _boxes(rng, DETECTIONS),
            rng.integers(1, CLASSES + 1, DETECTIONS),
            rng.random(DETECTIONS),
        )
        scores *= 0.5
        if last[i] > first[i]:
            near = np.flatnonzero(rng.random(DETECTIONS) < 0.4)
            hit = rng.integers(first[i], last[i], len(near))
            guessed[near] = boxes[hit] + rng.normal(0, 0.1, (len(near), 4)) * np.tile(boxes[hit, 2:], 2)
            guessed[near, 2:] = guessed[near, 2:].clip(min=1)
            labels[near], scores[near] = classes[hit], rng.random(len(near))
        rows += [
            {"image_id": int(ids[i]), "category_id": c, "bbox": b, "score": s}
            for c, b, s in zip(labels.tolist(), guessed.round(3).tolist(), scores.round(5).tolist())
        ]
    results.write_text(json.dumps(rows))


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random x, y, width, height inside the image, sides log-uniform from 8 to 300 pixels."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corners = rng.random((count, 2)) * ([WIDTH, HEIGHT] - sides)
    return np.concatenate([corners, sides], axis=1).round(2)


def _ours(truth: Path, results: Path) -> dict[str, Any]:
    start = time.perf_counter()
    metrics = evaluate_coco_results(truth, results, ("bbox",))
    total = time.perf_counter() - start
    numbers = [v / 100 for k, v in metrics.items() if "AP-" not in k]

    read = GroundTruth.from_json(truth, ("bbox",))
    detections = Detections.from_rows(read_json(results, "results"), read, "results")
    start = time.perf_counter()
    score(read, detections)
    return {"total": total, "scoring": time.perf_counter() - start, "numbers": numbers}


def _pycocotools(truth: Path, results: Path) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        ground_truth = COCO(str(truth))
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(str(results)), "bbox")
        loaded = time.perf_counter()
        evaluation.evaluate()
        evaluation.accumulate()
        scored = time.perf_counter()
        evaluation.summarize()
    return {"total": time.perf_counter() - start, "scoring": scored - loaded, "numbers": list(evaluation.stats)}
