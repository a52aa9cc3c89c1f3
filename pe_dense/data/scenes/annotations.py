"""Exact COCO annotations of what is visible of each object."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import cv2
import numpy as np

from pe_dense.data.scenes.compose import Scene
from pe_dense.data.scenes.shapes import CLASSES
from pe_dense.structures.masks import encode_rle

WALL, FLOOR, FIRST_CLASS, IGNORE = 0, 1, 2, 255


def coco_categories() -> list[dict[str, Any]]:
    """The ``categories`` list of the json; its ids have gaps, as in COCO."""
    return [{"id": c.json_id, "name": c.name, "supercategory": "shape"} for c in CLASSES]


def sem_seg_classes() -> list[dict[str, Any]]:
    """Class index and name of each value in the semantic label images (255 = ignore)."""
    names = ["wall", "floor", *(c.name for c in CLASSES)]
    return [{"id": index, "name": name, "isthing": int(index >= FIRST_CLASS)} for index, name in enumerate(names)]


def coco_annotations(scene: Scene) -> list[dict[str, Any]]:
    """One annotation per object or crowd, without ``id`` and ``image_id``.

    Boxes are the extents and areas the pixel counts of the masks. Objects without holes are polygons along pixel edges
    (they rasterise to exactly the mask), others compressed RLE, crowds uncompressed RLE, as in COCO.
    """
    order = sorted(range(len(scene.shapes)), key=lambda i: (scene.shapes[i].thing.group, i))
    found = []
    for _, members in groupby(order, key=lambda i: scene.shapes[i].thing.group):
        indices = list(members)
        thing = scene.shapes[indices[0]].thing
        mask = np.isin(scene.picture.owner, indices)
        if mask.any():
            found.append(_annotation(mask, CLASSES[thing.label].json_id, thing.crowd))
    return found


def _annotation(mask: np.ndarray, category: int, crowd: bool) -> dict[str, Any]:
    x0, y0, x1, y1 = mask_box(mask)
    segmentation: Any = uncompressed_rle(mask) if crowd else polygons(mask) or encode_rle(mask)
    return {
        "category_id": category,
        "bbox": [float(v) for v in (x0, y0, x1 - x0, y1 - y0)],
        "area": float(mask.sum()),
        "iscrowd": int(crowd),
        "segmentation": segmentation,
    }


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Extent x0, y0, x1, y1 (exclusive) of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def polygons(mask: np.ndarray) -> list[list[float]]:
    """Outlines along the pixel edges, one per separate part, each [x0, y0, x1, y1, ...]; empty if there is a hole.

    Contours of the mask at twice the size run through the centres of its border samples, of which the even ones lie at
    the left or upper and the odd ones at the right or lower edge of their pixel.
    """
    x0, y0, x1, y1 = mask_box(mask)
    doubled = mask[y0:y1, x0:x1].astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if hierarchy is None or (hierarchy[0, :, 3] >= 0).any():
        return []
    return [_corners((c[:, 0] + 1) // 2 + [x0, y0]) for c in contours]


def _corners(points: np.ndarray) -> list[float]:
    """Keep the points of a closed path at which it turns."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return [float(v) for v in points[turns].ravel()]


def uncompressed_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run lengths as a list of numbers, column by column, the first run being background."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(np.int8)])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return {"size": [int(s) for s in mask.shape], "counts": [int(c) for c in counts]}


def sem_seg_labels(scene: Scene) -> np.ndarray:
    """H x W uint8: 0 wall, 1 floor, 2.. the classes, 255 where an object blends with what is behind it."""
    table = np.array([s.thing.label + FIRST_CLASS for s in scene.shapes] or [0], dtype=np.uint8)
    picture = scene.picture
    labels = np.where(picture.owner >= 0, table[picture.owner], np.where(picture.floor, FLOOR, WALL))
    return np.where(picture.mixed, IGNORE, labels).astype(np.uint8)


def depth_millimetres(depth: np.ndarray) -> np.ndarray:
    """H x W uint16 millimetres, 0 = unknown."""
    return np.round(depth * 1000).astype(np.uint16)
