"""The ground truth of a COCO-format json as columns, checked once and ready for scoring."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hotcoco
import hotcoco.mask
import numpy as np

from pe_dense.evaluation.json_file import read_json
from pe_dense.structures import Categories

logger = logging.getLogger(__name__)

TASKS = ("bbox", "segm")


@dataclass(frozen=True)
class GroundTruth:
    """Objects of a data set, N objects in M images of K classes.

    Attributes:
        path: the json file.
        categories: classes; the position of an id is the contiguous class index.
        tasks: what can be scored, of "bbox" and "segm".
        image_ids: M int64, ascending.
        sizes: M x 2 int64 (height, width); -1 where the json does not tell.
        image_index: N int64, position of each object's image in ``image_ids``.
        class_index: N int64, contiguous class index.
        boxes: N x 4 float64, x, y, width, height.
        area: N float64, square pixels.
        crowd: N bool.
        segmentation: N polygon lists or RLEs, or None when "segm" is not among the tasks.
    """

    path: Path
    categories: Categories
    tasks: tuple[str, ...]
    image_ids: np.ndarray
    sizes: np.ndarray
    image_index: np.ndarray
    class_index: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    segmentation: list[Any] | None

    @classmethod
    def from_json(cls, json_file: str | Path, tasks: Sequence[str] | None = TASKS) -> GroundTruth:
        """Read and check a COCO-format json.

        An object without ``area`` gets that of its mask, or of its box where there is no mask; one without ``iscrowd``
        is no crowd; polygons with fewer than three points are left out with a warning.

        Args:
            json_file: COCO-format json.
            tasks: what will be scored; None takes whatever every annotation of the json has.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it is not such a json, has no annotations or lacks what a task needs.
        """
        path = Path(json_file)
        data = read_json(path, "ground truth")
        for key in ("images", "categories", "annotations"):
            if not isinstance(data, dict) or not isinstance(data.get(key), list):
                hint = "; a file without annotations cannot be evaluated against" if key == "annotations" else ""
                raise ValueError(f"ground truth {path} has no list '{key}': it is not a COCO-format json{hint}")
        annotations: list[dict[str, Any]] = data["annotations"]
        if not annotations:
            raise ValueError(f"ground truth {path} has an empty 'annotations': there is nothing to evaluate against")

        category_ids = _int_column(data["categories"], "id", "category", path)
        categories = Categories.from_json(data["categories"])
        image_ids = _int_column(data["images"], "id", "image", path)
        order = np.argsort(image_ids, kind="stable")
        images = [data["images"][i] for i in order]
        image_ids = image_ids[order]
        if (repeated := image_ids[1:][image_ids[1:] == image_ids[:-1]]).size:
            raise ValueError(f"ground truth {path} has image id {repeated[0]} more than once")

        chosen = _choose_tasks(annotations, tasks, path)
        image_index = _look_up(annotations, "image_id", image_ids, "image", path)
        sizes = np.array([[i.get("height", -1), i.get("width", -1)] for i in images], dtype=np.int64).reshape(-1, 2)
        segmentation = None
        if "segm" in chosen:
            segmentation = _segmentations(annotations, sizes[image_index], path)
        boxes = _boxes(annotations, path) if "bbox" in chosen else np.zeros((len(annotations), 4))
        return cls(
            path=path,
            categories=categories,
            tasks=chosen,
            image_ids=image_ids,
            sizes=sizes,
            image_index=image_index,
            class_index=_look_up(annotations, "category_id", np.sort(category_ids), "category", path),
            boxes=boxes,
            area=_areas(annotations, boxes, segmentation, sizes[image_index]),
            crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations]),
            segmentation=segmentation,
        )

    @cached_property
    def coco(self) -> hotcoco.COCO:
        """The same as a hotcoco data set.

        Images, classes and objects are numbered 1, 2, ... in the order of their ids. That keeps the order in which
        COCO's protocol breaks ties, and avoids id 0, for which pycocotools counts a matched object as missed.
        """
        return hotcoco.COCO.from_arrays(
            [{"id": i, "height": max(h, 0), "width": max(w, 0)} for i, (h, w) in enumerate(self.sizes.tolist(), 1)],
            [{"id": k, "name": name} for k, name in enumerate(self.categories.names, 1)],
            self.image_index + 1,
            self.class_index + 1,
            self.boxes,
            area=self.area,
            iscrowd=self.crowd,
            segmentation=self.segmentation,
        )


def _int_column(rows: list[Any], key: str, what: str, path: Path) -> np.ndarray:
    """The integer field ``key`` of every row."""
    for row in rows:
        value = row.get(key) if isinstance(row, dict) else None
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"ground truth {path}: {what} {key} {value!r} is not an integer; give every {what} one")
    return np.array([row[key] for row in rows], dtype=np.int64)


def _look_up(annotations: list[Any], key: str, ids: np.ndarray, what: str, path: Path) -> np.ndarray:
    """Position in the ascending ``ids`` of what each annotation refers to."""
    values = _int_column(annotations, key, "annotation", path)
    index = np.searchsorted(ids, values).clip(max=max(len(ids) - 1, 0))
    unknown = np.flatnonzero(ids[index] != values) if len(ids) else np.arange(len(values))
    if len(unknown):
        culprit = annotations[unknown[0]]
        raise ValueError(
            f"ground truth {path}: annotation {culprit.get('id')} has {key} {culprit[key]}, but there is no such {what}"
        )
    return index


def _choose_tasks(annotations: list[Any], tasks: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    """The tasks to score, after checking that every annotation has what they need."""
    wanted = TASKS if tasks is None else tuple(tasks)
    if unknown := [t for t in wanted if t not in TASKS]:
        raise ValueError(f"unknown evaluation task {unknown[0]!r}; choose from {', '.join(TASKS)}")
    chosen = []
    for task, key in zip(TASKS, ("bbox", "segmentation")):
        if task not in wanted:
            continue
        lacking = [a for a in annotations if not a.get(key)]
        if not lacking:
            chosen.append(task)
        elif tasks is not None:
            others = tuple(t for t in wanted if t != task)
            raise ValueError(
                f"ground truth {path}: {len(lacking)} annotations (the first has id {lacking[0].get('id')}) have no "
                f"'{key}', so {task} cannot be evaluated; add it or evaluate with tasks={others or None}"
            )
        elif len(lacking) < len(annotations):
            logger.warning("%s: %s is not evaluated, %d annotations have no '%s'", path, task, len(lacking), key)
    if not chosen:
        raise ValueError(f"ground truth {path}: the annotations have neither boxes nor masks to evaluate against")
    return tuple(chosen)


def _boxes(annotations: list[Any], path: Path) -> np.ndarray:
    """N x 4 float64 boxes."""
    for annotation in annotations:
        box = annotation["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
            raise ValueError(f"ground truth {path}: annotation {annotation.get('id')} has bbox {box}, not 4 numbers")
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    if len(bad := np.flatnonzero(~np.isfinite(boxes).all(axis=1))):
        culprit = annotations[bad[0]]
        raise ValueError(f"ground truth {path}: annotation {culprit.get('id')} has bbox {culprit['bbox']}, not finite")
    return boxes


def _segmentations(annotations: list[Any], sizes: np.ndarray, path: Path) -> list[Any]:
    """N polygon lists or RLEs, each checked against its image's (height, width)."""
    segmentations, dropped = [], 0
    for annotation, size in zip(annotations, sizes.tolist()):
        value, name = annotation["segmentation"], f"ground truth {path}: annotation {annotation.get('id')}"
        if min(size) < 1:
            raise ValueError(f"{name}: image {annotation['image_id']} has no height and width, which masks need")
        if isinstance(value, list):
            polygons = [p for p in value if isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0]
            dropped += len(value) - len(polygons)
            if not polygons:
                raise ValueError(f"{name} has a segmentation with no polygon of at least three points")
            value = polygons
        elif not isinstance(value, dict) or "counts" not in value or list(value.get("size", [])) != size:
            given = value.get("size") if isinstance(value, dict) else value
            raise ValueError(f"{name} has an RLE of size {given}, its image is {size} (height, width)")
        segmentations.append(value)
    if dropped:
        logger.warning("%s: left out %d polygons with fewer than three points", path, dropped)
    return segmentations


def _areas(annotations: list[Any], boxes: np.ndarray, masks: list[Any] | None, sizes: np.ndarray) -> np.ndarray:
    """N float64 areas: as given, else of the mask, else of the box."""
    area = boxes[:, 2] * boxes[:, 3]
    for i, annotation in enumerate(annotations):
        if (given := annotation.get("area")) is not None:
            area[i] = given
        elif masks is not None:
            rles = hotcoco.mask.fr_py_objects(masks[i], *sizes[i].tolist())
            area[i] = hotcoco.mask.area(rles if isinstance(rles, dict) else hotcoco.mask.merge(rles))
    return area
