"""The ground truth of a COCO-format json as columns, checked once and ready for scoring."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotcoco
import hotcoco.mask
import numpy as np

from pe_dense.evaluation.columns import Name, box_column, int_column, positions
from pe_dense.evaluation.federated import lacking, searched_classes
from pe_dense.evaluation.json_file import read_json
from pe_dense.structures import Categories
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

TASKS = ("bbox", "segm")


@dataclass(frozen=True)
class GroundTruth:
    """A data set with M images of K classes.

    Attributes:
        path: the json file.
        categories: classes; the position of an id is the contiguous class index.
        tasks: what can be scored, of "bbox" and "segm".
        image_ids: M int64, ascending.
        file_names: M names, empty where the json does not tell.
        sizes: M x 2 int64 (height, width); -1 where the json does not tell.
        coco: the objects as a hotcoco data set. Images, classes and objects are numbered 1, 2, ... in the order of
            their ids (objects: of the file). That keeps the order in which COCO's protocol breaks ties, and avoids
            id 0, for which pycocotools counts a matched object as missed.
        frequencies: of each class "r", "c" or "f" (rare, common, frequent); "" where the json does not tell.
        not_lvis: why it cannot be scored by LVIS's protocol; empty if it can.
    """

    path: Path
    categories: Categories
    tasks: tuple[str, ...]
    image_ids: np.ndarray
    file_names: list[str]
    sizes: np.ndarray
    coco: hotcoco.COCO
    frequencies: tuple[str, ...]
    not_lvis: str

    def __deepcopy__(self, memo: dict[int, Any]) -> GroundTruth:
        return self  # nothing ever changes it, and it is large

    @classmethod
    def from_json(cls, json_file: str | Path, tasks: Sequence[str] | None = TASKS) -> GroundTruth:
        """Read and check a COCO-format json.

        An object without ``area`` gets that of its mask, or of its box where masks are not scored; one without
        ``iscrowd`` is no crowd; polygons with fewer than three points are left out with a warning. What a json of LVIS
        tells about the classes that each image was searched for is read too.

        Args:
            json_file: COCO-format json.
            tasks: what will be scored; None takes whatever every annotation of the json has.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it is not such a json, has no annotations or lacks what a task needs.
        """
        path = Path(json_file)
        data = _read(path)
        annotations = data["annotations"]
        chosen = _choose_tasks(annotations, tasks, path)
        int_column(data["categories"], "id", lambda i: f"ground truth {path}: category {i}")
        categories = Categories.from_json(data["categories"])
        image_ids, file_names, sizes = _images(data["images"], path)
        searched = searched_classes(data["images"], categories, path)
        frequency = {row["id"]: str(row.get("frequency", "")) for row in data["categories"]}
        frequencies = tuple(frequency[i] for i in categories.ids)

        def name(index: int) -> str:
            return f"ground truth {path}: annotation {annotations[index].get('id')}"

        image_index = _look_up(annotations, "image_id", image_ids, name)
        class_index = _look_up(annotations, "category_id", np.array(categories.ids, dtype=np.int64), name)
        masks = _segmentations(annotations, sizes[image_index], path) if "segm" in chosen else None
        boxes = box_column(annotations, "bbox", name) if "bbox" in chosen else np.zeros((len(annotations), 4))
        coco = hotcoco.COCO.from_arrays(
            [
                {"id": i, "height": max(h, 0), "width": max(w, 0), **searched.get(image_id, {})}
                for i, (image_id, (h, w)) in enumerate(zip(image_ids.tolist(), sizes.tolist()), 1)
            ],
            [{"id": k, "name": n, "frequency": f} for k, (n, f) in enumerate(zip(categories.names, frequencies), 1)],
            image_index + 1,
            class_index + 1,
            boxes,
            area=_areas(annotations, boxes, masks, sizes[image_index]),
            iscrowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations]),
            segmentation=masks,
        )
        not_lvis = lacking(data["images"], data["categories"])
        return cls(path, categories, chosen, image_ids, file_names, sizes, coco, frequencies, not_lvis)


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The json, checked to have the lists of a COCO-format file."""
    data: Any = read_json(path, "ground truth")
    for key in ("images", "categories", "annotations"):
        rows = data.get(key) if isinstance(data, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            hint = "; a file without annotations cannot be evaluated against" if key == "annotations" else ""
            raise ValueError(f"ground truth {path} has no list '{key}': it is not a COCO-format json{hint}")
    if not data["annotations"]:
        raise ValueError(f"ground truth {path} has an empty 'annotations': there is nothing to evaluate against")
    return data


def _images(images: list[dict[str, Any]], path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """M ascending ids, file names, and M x 2 sizes, height and width."""
    ids = int_column(images, "id", lambda i: f"ground truth {path}: image {i}")
    sizes = np.array([[i.get("height", -1), i.get("width", -1)] for i in images], dtype=np.int64).reshape(-1, 2)
    order = np.argsort(ids)
    ids, sizes = ids[order], sizes[order]
    if (repeated := ids[1:][ids[1:] == ids[:-1]]).size:
        raise ValueError(f"ground truth {path} has image id {repeated[0]} more than once; give each image its own")
    return ids, [str(images[i].get("file_name") or images[i].get("coco_url", "")) for i in order], sizes


def _look_up(annotations: list[dict[str, Any]], key: str, ids: np.ndarray, name: Name) -> np.ndarray:
    """Position in the ascending ``ids`` of what each annotation refers to."""
    values = int_column(annotations, key, name)
    index, unknown = positions(values, ids)
    if len(unknown):
        raise ValueError(f"{name(unknown[0])} has {key} {values[unknown[0]]}, which is not in the file")
    return index


def _choose_tasks(annotations: list[dict[str, Any]], tasks: Sequence[str] | None, path: Path) -> tuple[str, ...]:
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
                f"ground truth {path}: {counted(len(lacking), 'annotation')} (the first has id "
                f"{lacking[0].get('id')}) without '{key}', so {task} cannot be evaluated; "
                f"add it or evaluate with tasks={others or None}"
            )
        elif len(lacking) < len(annotations):
            without = counted(len(lacking), f"annotation without '{key}'")
            logger.warning("%s: %s is not evaluated: %s", path, task, without)
    if not chosen:
        raise ValueError(f"ground truth {path}: the annotations have neither boxes nor masks to evaluate against")
    return tuple(chosen)


def _segmentations(annotations: list[dict[str, Any]], sizes: np.ndarray, path: Path) -> list[Any]:
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
        logger.warning("%s: left out %s", path, counted(dropped, "polygon with fewer than three points"))
    return segmentations


def _areas(
    annotations: list[dict[str, Any]], boxes: np.ndarray, masks: list[Any] | None, sizes: np.ndarray
) -> np.ndarray:
    """N float64 areas: as given, else of the mask, else of the box."""
    given = [annotation.get("area") for annotation in annotations]
    area = np.array([np.nan if a is None else a for a in given], dtype=np.float64)
    for i in np.flatnonzero(np.isnan(area)):
        if masks is None:
            area[i] = boxes[i, 2] * boxes[i, 3]
        else:
            rles = hotcoco.mask.fr_py_objects(masks[i], *sizes[i].tolist())
            area[i] = hotcoco.mask.area(rles if isinstance(rles, dict) else hotcoco.mask.merge(rles))
    return area
