"""Which detections are right: greedy matching with the ground truth, image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import orjson
from pycocotools import mask as coco_mask

from pe_dense.structures import Categories

Status = Literal["correct", "missed", "false", "wrong class", "ignored"]


class Objects(Protocol):
    """Ground truth of one image: XYXY boxes, contiguous classes, crowd flags and polygons or RLEs."""

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    segmentations: list[Any]


class AnnotatedImages(Protocol):
    """What a data set must offer; :class:`pe_dense.data.CocoDataset` does."""

    @property
    def categories(self) -> Categories:
        """Class names and ids."""

    @property
    def image_ids(self) -> np.ndarray:
        """The image id of each item."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """A sample with ``image``."""

    def file_name(self, index: int) -> str:
        """File name of an item."""

    def annotations(self, index: int) -> Objects:
        """Objects of an item, without reading the image."""


@dataclass(frozen=True)
class Detected:
    """N detections of one image, best first.

    Attributes:
        boxes: N x 4 XYXY pixels.
        classes: N contiguous class indices.
        scores: N.
        segmentations: N compressed RLEs, or None where there is no mask.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    segmentations: list[Any]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Comparison:
    """Ground truth and detections of one image.

    Attributes:
        index: item of the data set.
        file_name: of the image.
        truth: ground truth.
        detected: detections above the score threshold.
        truth_status: "correct" (found), "missed", "wrong class" or "ignored" (crowd) for each object.
        detected_status: "correct", "false", "wrong class" or "ignored" (inside a crowd) for each detection.
        partner: for each detection the object it is matched with, -1 = none.
    """

    index: int
    file_name: str
    truth: Objects
    detected: Detected
    truth_status: list[Status]
    detected_status: list[Status]
    partner: np.ndarray

    @property
    def errors(self) -> int:
        """Missed objects, false detections and pairs of wrong class."""
        return self.truth_status.count("missed") + self.detected_status.count("false") + self.wrong_class

    @property
    def wrong_class(self) -> int:
        """Objects that were found but taken for another class."""
        return self.truth_status.count("wrong class")


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a COCO results file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a json list.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"results file {path} does not exist; give the coco_instances_results.json of a run")
    try:
        rows = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid json ({error}); evaluate again to write it anew") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not a list of detections; give a file in COCO's results format")
    return rows


def group_results(results: Sequence[Mapping[str, Any]], dataset: AnnotatedImages, threshold: float) -> list[Detected]:
    """Rows of a COCO results file as detections per item of the data set.

    Args:
        results: rows ``{"image_id", "category_id", "score", "bbox" and/or "segmentation"}``.
        dataset: what they were made for.
        threshold: rows with a lower score are left out.

    Raises:
        ValueError: if a row lacks a field, or its image or category is not in the data set.
    """
    known = {int(image_id): index for index, image_id in enumerate(dataset.image_ids)}
    contiguous = dataset.categories.contiguous
    rows: dict[int, list[tuple[float, int, list[float], Any]]] = defaultdict(list)
    strangers = set()
    for number, row in enumerate(results):
        try:
            image_id, category, score = row["image_id"], row["category_id"], float(row["score"])
            box = row["bbox"] if "bbox" in row else coco_mask.toBbox(row["segmentation"]).tolist()
            x, y, w, h = (float(v) for v in box)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"row {number} of the results has no valid image_id, category_id, score and bbox or segmentation "
                f"({type(error).__name__}: {error}); write them in COCO's results format"
            ) from None
        if image_id not in known:
            strangers.add(image_id)
        elif category not in contiguous:
            raise ValueError(
                f"row {number} of the results has category_id {category}, which the data set does not have "
                f"({', '.join(map(str, dataset.categories.ids[:20]))}); the results are of another data set"
            )
        elif score >= threshold:
            rows[known[image_id]].append((score, contiguous[category], [x, y, x + w, y + h], row.get("segmentation")))
    if strangers:
        raise ValueError(
            f"the results are for {len(strangers)} images that the data set does not have (image_id "
            f"{', '.join(map(str, sorted(strangers, key=str)[:5]))}); give the json that the results were made for"
        )
    return [_detected(rows[index]) for index in range(len(dataset))]


def _detected(rows: list[tuple[float, int, list[float], Any]]) -> Detected:
    rows = sorted(rows, key=lambda row: -row[0])
    return Detected(
        boxes=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        classes=np.array([row[1] for row in rows], dtype=np.int64),
        scores=np.array([row[0] for row in rows], dtype=np.float64),
        segmentations=[row[3] for row in rows],
    )


def compare(index: int, file_name: str, truth: Objects, detected: Detected, min_iou: float = 0.5) -> Comparison:
    """Match the detections of one image, best first, with objects of their class whose box overlaps by ``min_iou``.

    What is left is matched without regard to the class. A detection of which more than half lies in a crowd of its
    class is ignored.
    """
    boxes = np.asarray(truth.boxes, dtype=np.float64).reshape(-1, 4)
    shared = _intersections(detected.boxes, boxes)
    area, other = _areas(detected.boxes)[:, None], _areas(boxes)[None]
    iou = shared / np.maximum(area + other - shared, 1e-9)
    iou[:, truth.crowd] = 0
    partner = np.full(len(detected), -1)
    same = detected.classes[:, None] == truth.classes[None]
    for allowed in (same, np.ones_like(same)):
        for row in np.flatnonzero(partner < 0):
            free = allowed[row] & ~np.isin(np.arange(len(boxes)), partner)
            overlap = np.where(free, iou[row], 0)
            if overlap.max(initial=0) >= min_iou:
                partner[row] = int(overlap.argmax())
        if allowed is same:
            in_crowd = ((shared / np.maximum(area, 1e-9) > 0.5) & same & truth.crowd[None]).any(axis=1)
            partner[(partner < 0) & in_crowd] = -2
    detected_status = [_detection_status(row, int(p), same) for row, p in enumerate(partner)]
    truth_status: list[Status] = ["ignored" if crowd else "missed" for crowd in truth.crowd]
    for row in np.flatnonzero(partner >= 0):
        truth_status[partner[row]] = detected_status[row]
    return Comparison(index, file_name, truth, detected, truth_status, detected_status, np.maximum(partner, -1))


def _detection_status(row: int, partner: int, same: np.ndarray) -> Status:
    if partner == -2:
        return "ignored"
    if partner == -1:
        return "false"
    return "correct" if same[row, partner] else "wrong class"


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Shared area of each of N and each of M boxes: N x M."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)
