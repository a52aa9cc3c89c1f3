"""Random COCO-format data, and pycocotools as the oracle."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pe_dense.structures.masks import encode_rle

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
HEIGHT, WIDTH = 180, 240


def oracle(truth: dict[str, Any], rows: list[dict[str, Any]], task: str, image_ids=None, max_detections=100):
    """The twelve numbers (0..1, -1 for absent) and the precision array of pycocotools."""
    rows = copy.deepcopy(rows)
    if task == "segm":
        for row in rows:
            row.pop("bbox", None)  # detectron2: masks are sized by their own area
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = copy.deepcopy(truth)
        gt.createIndex()
        evaluation = COCOeval(gt, gt.loadRes(rows), task)
        evaluation.params.maxDets = [1, 10, max_detections]
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        if max_detections == 100:
            evaluation.summarize()
    return np.array(evaluation.stats), evaluation.eval["precision"]


def assert_same(metrics: dict[str, float], task: str, expected: np.ndarray) -> None:
    """Equal to 1e-6 on the 0..1 scale, with NaN for pycocotools' -1."""
    ours = np.array([metrics[f"{task}/{name}"] for name in NAMES]) / 100
    np.testing.assert_allclose(ours, np.where(expected < 0, np.nan, expected), atol=1e-6, rtol=0, err_msg=task)


def random_case(seed: int, images: int = 12, classes: int = 5) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and results with gaps in ids, crowds, empty images, ties, every size and boxes partly outside."""
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(rng.choice(10_000, images, replace=False)).tolist()
    class_ids = rng.permutation(rng.choice(np.arange(1, 200), classes, replace=False)).tolist()
    annotations: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image_id in image_ids[: images - 2]:  # the last two have no objects
        for _ in range(rng.integers(0, 8)):
            shape = _shape(rng)
            crowd = bool(rng.random() < 0.15)
            rle = encode_rle(_ellipse(*shape))
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(rng.choice(class_ids[:-1])),  # the last class never occurs
                "bbox": _box(shape),
                "area": float(coco_mask.area(rle)),
                "iscrowd": int(crowd),
                "segmentation": _uncompressed(_ellipse(*shape)) if crowd else _polygon(*shape),
            })  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                near = tuple(v + rng.normal(0, 0.1) * max(shape[2:]) for v in shape)
                same = rng.random() < 0.8
                rows.append(_row(rng, image_id, annotations[-1]["category_id"] if same else class_ids[0], near))
    for image_id in image_ids[1:]:  # false positives; the first image has none
        rows += [_row(rng, image_id, int(rng.choice(class_ids)), _shape(rng)) for _ in range(rng.integers(0, 15))]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    truth = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH, "file_name": f"{i}.jpg"} for i in image_ids],
        "categories": [{"id": c, "name": f"class {c}"} for c in class_ids],
        "annotations": annotations,
    }
    return truth, rows


def _row(rng, image_id, class_id, shape) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": class_id,
        "bbox": _box(shape),
        "score": round(float(rng.random()), 1),  # one digit: many ties
        "segmentation": encode_rle(_ellipse(*shape)),
    }


def _shape(rng) -> tuple[float, float, float, float]:
    """Centre and half axes: areas from a few pixels to most of the image."""
    rx, ry = np.exp(rng.uniform(np.log(1.5), np.log(110), 2))
    return float(rng.uniform(-10, WIDTH + 10)), float(rng.uniform(-10, HEIGHT + 10)), float(rx), float(ry)


def _box(shape) -> list[float]:
    x, y, rx, ry = shape
    return [round(x - rx, 2), round(y - ry, 2), round(2 * abs(rx), 2), round(2 * abs(ry), 2)]


def _ellipse(x, y, rx, ry) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return ((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2 <= 1


def _polygon(x, y, rx, ry) -> list[list[float]]:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)
    return [points.clip([0, 0], [WIDTH, HEIGHT]).round(2).ravel().tolist()]


def _uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [-1]])
    changes = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], changes])).tolist()
    return {"size": list(mask.shape), "counts": counts}
