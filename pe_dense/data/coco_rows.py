"""The annotations of a COCO json as flat arrays, as they are read."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What an annotation of another form than COCO's raises."""


class AnnotationRows:
    """N annotations of the json, in its order, as flat arrays.

    Attributes:
        segmentations: N, polygons with their numbers packed.
        error: why an annotation could not be read; the arrays are then worth nothing.
    """

    def __init__(self) -> None:
        self.segmentations: list[Any] = []
        self.error: Exception | None = None
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(self, rows: list[Any]) -> None:
        """Append annotations."""
        if self.error is not None:
            return
        before = len(self.segmentations)
        try:
            self.segmentations += [_packed(row.get("segmentation")) for row in rows]
            part = (
                _integers([row["image_id"] for row in rows]),
                _integers([row["category_id"] for row in rows]),
                np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(len(rows), 4),
                np.array([row.get("id", -1 - number) for number, row in enumerate(rows, before)], dtype=np.int64),
                np.array([row.get("iscrowd") or 0 for row in rows], dtype=np.float32) != 0,
                np.array([bool(row.get("isfake")) for row in rows], dtype=np.bool_),
            )
            self._parts.append(part)
        except UNREADABLE as error:
            self.error = error

    def columns(self) -> tuple[np.ndarray, ...]:
        """Once: ``image_id``, ``category_id``, ``bbox`` (N x 4 float64), ``id``, ``iscrowd``, ``isfake``."""
        self.add([])  # so that there is a part
        columns = tuple(np.concatenate(column) for column in zip(*self._parts))
        self._parts.clear()
        return columns


def _integers(values: list[Any]) -> np.ndarray:
    try:
        return np.array(array("q", values), dtype=np.int64)
    except TypeError:
        found = np.array(values)
        if found.dtype.kind != "f" or not (found == found.round()).all():
            raise
        return found.astype(np.int64)  # written as 1.0


def _packed(segmentation: Any) -> Any:
    """Polygons in a twentieth of the memory; whatever is no polygon is left to be complained of."""
    if not isinstance(segmentation, list) or not all(isinstance(polygon, list) for polygon in segmentation):
        return segmentation
    try:
        return [array("f", polygon) for polygon in segmentation]
    except (TypeError, OverflowError):
        return segmentation
