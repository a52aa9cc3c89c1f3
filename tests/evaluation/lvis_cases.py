"""LVIS's protocol in plain numpy, one class, image, threshold and object after the other; and results to score."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

AREAS = ((0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10))
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR300", "ARs", "ARm", "ARl")


def lvis_oracle(
    truth: dict[str, Any], rows: list[dict[str, Any]], task: str, limit: int = 300, image_ids=None
) -> tuple[dict[str, float], dict[int, float]]:
    """All numbers by name and AP by category id: 0..1, NaN for absent ones."""
    images = [i for i in sorted(truth["images"], key=lambda i: i["id"]) if image_ids is None or i["id"] in image_ids]
    objects, found = defaultdict(list), defaultdict(list)
    for annotation in truth["annotations"]:
        objects[annotation["category_id"], annotation["image_id"]].append(annotation)
    for image in images:
        own = [r for r in rows if r["image_id"] == image["id"]]
        for row in sorted(own, key=lambda r: -r["score"])[:limit]:
            area = row["bbox"][2] * row["bbox"][3] if task == "bbox" else float(coco_mask.area(row["segmentation"]))
            if area > 0:
                found[row["category_id"], image["id"]].append(row | {"area": area})
    classes = sorted(c["id"] for c in truth["categories"])
    precision = np.full((10, 101, len(classes), 4), np.nan)
    recall = np.full((10, len(classes), 4), np.nan)
    for k, class_id in enumerate(classes):
        searched = [i for i in images if objects[class_id, i["id"]] or class_id in i["neg_category_ids"]]
        if not any(objects[class_id, i["id"]] for i in searched):
            continue
        parts = []
        for image in searched:
            here = objects[class_id, image["id"]], found[class_id, image["id"]]
            partly = class_id in image["not_exhaustive_category_ids"]
            parts.append((*here, partly, _overlaps(here[1], here[0], task, image)))
        for a, area in enumerate(AREAS):
            for t, threshold in enumerate(THRESHOLDS):
                curve = _curve(parts, area, threshold)
                if curve is not None:
                    precision[t, :, k, a], recall[t, k, a] = curve
    return _summary(truth, classes, precision, recall)


def _overlaps(detections, objects, task, image) -> np.ndarray:
    """IoU of each detection with each object."""
    if not detections or not objects:
        return np.zeros((len(detections), len(objects)))
    if task == "bbox":
        return np.array([[_box_overlap(d["bbox"], o["bbox"]) for o in objects] for d in detections])
    found, true = (np.stack([_bitmap(r["segmentation"], image) for r in rows]) for rows in (detections, objects))
    both = (found @ true.T).astype(np.float64)
    return both / np.maximum(found.sum(axis=1)[:, None] + true.sum(axis=1) - both, 1)


def _bitmap(segmentation, image) -> np.ndarray:
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, image["height"], image["width"]))
    return coco_mask.decode(segmentation).reshape(-1).astype(np.float32)  # sums below 2**24 are exact


def _box_overlap(a: list[float], b: list[float]) -> float:
    width, height = (min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    both = max(width, 0) * max(height, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def _curve(parts, area, threshold) -> tuple[np.ndarray, float] | None:
    """Precision at each recall, and the highest recall, of one class."""
    counted, wanted = [], 0  # (score, true positive) of each detection that counts
    for objects, detections, partly, overlaps in parts:
        outside = [not area[0] <= o["area"] <= area[1] for o in objects]
        wanted += outside.count(False)
        free = sorted(range(len(objects)), key=lambda o: outside[o])
        for d in sorted(range(len(detections)), key=lambda d: -detections[d]["score"]):
            best, match = min(threshold, 1 - 1e-10), None
            for o in free:
                if match is not None and outside[o] and not outside[match]:
                    break
                if overlaps[d, o] >= best:
                    best, match = overlaps[d, o], o
            if match is not None:
                free.remove(match)
                if not outside[match]:
                    counted.append((detections[d]["score"], True))
            elif area[0] <= detections[d]["area"] <= area[1] and not partly:
                counted.append((detections[d]["score"], False))
    if not wanted:
        return None
    counted.sort(key=lambda c: -c[0])
    right = np.cumsum([c[1] for c in counted])
    reached, exact = right / wanted, right / np.arange(1, len(right) + 1)
    best_after = np.append(np.maximum.accumulate(exact[::-1])[::-1], 0.0)
    return best_after[np.searchsorted(reached, RECALLS)], max(reached, default=0)


def _mean(values: np.ndarray) -> float:
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")


def _summary(truth, classes, precision, recall) -> tuple[dict[str, float], dict[int, float]]:
    frequency = {c["id"]: c["frequency"] for c in truth["categories"]}
    numbers = {"AP": _mean(precision[..., 0]), "AP50": _mean(precision[0, ..., 0]), "AP75": _mean(precision[5, ..., 0])}
    numbers |= {f"AP{s}": _mean(precision[..., a]) for a, s in enumerate("sml", 1)}
    for letter in "rcf":
        numbers[f"AP{letter}"] = _mean(precision[:, :, [frequency[c] == letter for c in classes], 0])
    numbers |= {f"AR{s}": _mean(recall[..., a]) for a, s in enumerate(("300", "s", "m", "l"))}
    return numbers, {c: _mean(precision[:, :, k, 0]) for k, c in enumerate(classes)}


def assert_same(metrics: dict[str, float], task: str, expected: dict[str, float]) -> None:
    """Equal to 1e-9 on the 0..1 scale."""
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[f"{task}/{name}"] / 100, value, atol=1e-9, rtol=0, err_msg=f"{task}/{name}")


def moved_objects(truth: dict[str, Any], seed: int = 0) -> list[dict[str, Any]]:
    """Results: objects moved a little, some missed, some twice, some of another class; and false ones of classes that
    are known to be absent, that are not labelled completely, and that nobody has looked for.
    """
    rng = np.random.default_rng(seed)
    classes = [c["id"] for c in truth["categories"]]
    rows = []
    for image in truth["images"]:
        objects = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        for annotation in objects:
            for _ in range(rng.integers(0, 3)):
                category = annotation["category_id"] if rng.random() < 0.85 else int(rng.choice(classes))
                rows.append(_moved(rng, image, annotation["bbox"], category))
        wrong = [*image["neg_category_ids"], *image["not_exhaustive_category_ids"] * 3]
        wrong += [a["category_id"] for a in objects[:3]] + rng.choice(classes, 3).tolist()
        for category in wrong:
            size = np.exp(rng.uniform(1.5, 5, 2))
            place = rng.uniform(0, 1, 2) * [image["width"], image["height"]]
            rows.append(_moved(rng, image, [*place, *size], category))
    return [rows[i] for i in rng.permutation(len(rows))]


def _moved(rng, image, box, category) -> dict[str, Any]:
    x, y, width, height = np.array(box, dtype=np.float64) + rng.normal(0, 0.06, 4) * max(box[2:])
    width, height = abs(width) + 1, abs(height) + 1
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = [x, y] + np.array([width, height]) * (0.5 + 0.55 * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    (rle,) = coco_mask.frPyObjects([points.ravel().tolist()], image["height"], image["width"])
    return {
        "image_id": image["id"],
        "category_id": int(category),
        "bbox": [round(float(v), 2) for v in (x, y, width, height)],
        "score": round(float(rng.random()), 2),  # two digits: many ties
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
    }


def small_case() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Four images of 100 x 100 pixels, five classes whose ids have gaps, and results for them."""
    frequencies = {3: "r", 7: "c", 8: "f", 20: "f", 41: "r"}
    boxes = [(11, 3, 10), (11, 8, 40), (11, 8, 60), (5, 7, 20), (5, 20, 5), (9, 8, 30)]
    annotations = [
        {"id": i, "image_id": image, "category_id": category, "area": 900.0, "bbox": [at, at, 30, 30],
         "segmentation": [[at, at, at + 30, at, at + 30, at + 30, at, at + 30]]}
        for i, (image, category, at) in enumerate(boxes, 1)
    ]  # fmt: skip
    negative, partly = {11: [41], 5: [3], 9: [], 2: [8, 20]}, {11: [8], 5: [], 9: [7], 2: []}
    truth = {
        "images": [
            {"id": i, "height": 100, "width": 100, "coco_url": f"http://images.cocodataset.org/val2017/{i:012}.jpg",
             "neg_category_ids": negative[i], "not_exhaustive_category_ids": partly[i]} for i in negative
        ],
        "categories": [{"id": i, "name": f"class {i}", "frequency": f} for i, f in frequencies.items()],
        "annotations": annotations,
    }  # fmt: skip
    return truth, moved_objects(truth, seed=1)
