"""The objects of a COCO json as flat arrays that processes can share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pe_dense.structures import Categories

Polygons = list[np.ndarray]
"""Parts of one object, each K x 2 float32 (x, y) in pixels, K >= 3."""
Segmentation: TypeAlias = Polygons | dict[str, Any] | None
"""Polygons, a COCO run-length encoding with keys ``size`` and compressed ``counts``, or nothing."""


@dataclass(frozen=True)
class ImageAnnotations:
    """N objects of one image in its original pixel coordinates; masks are still polygons or run lengths.

    Attributes:
        ids: N int64, the json's annotation ids (-1 - position in the json where it gives none).
        boxes: N x 4 float32, XYXY absolute pixels.
        classes: N int64, contiguous class index.
        crowd: N bool.
        segmentations: one entry per object.
        track_ids: N int64, identity over time; ``None`` where it is not known.
    """

    ids: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    segmentations: list[Segmentation]
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: np.ndarray) -> ImageAnnotations:
        """Select objects by an index array."""
        picked = [self.segmentations[int(i)] for i in index]
        tracks = None if self.track_ids is None else self.track_ids[index]
        return ImageAnnotations(
            self.ids[index], self.boxes[index], self.classes[index], self.crowd[index], picked, tracks
        )

    def without_masks(self) -> ImageAnnotations:
        """The same objects, boxes only."""
        return replace(self, segmentations=[None] * len(self))


@dataclass(frozen=True)
class AnnotationTable:
    """A whole COCO json: M images, N objects in image order, P polygons, R run-length encodings.

    No Python object exists per image or object, so that processes share the pages, whatever their number.

    Attributes:
        source: the json file.
        categories: class names and ids.
        skipped: what was left out, objects or polygons, in the singular -> how many and a few annotation ids.
        arrays: ``image_ids`` M int64; ``image_sizes`` M x 2 int32 (height, width; 0 = not in the json); ``names`` uint8
            text with ``name_offsets`` M + 1; ``image_offsets`` M + 1 into the objects; ``ids`` N int64; ``boxes`` N x 4
            float32 XYXY; ``classes`` N int32; ``crowd`` N bool; ``fake`` N bool (Objects365's ``isfake``: a picture or
            a toy of the object); ``part_offsets`` N + 1 into the polygons;
            ``point_offsets`` P + 1 into ``points`` (x and y alternate, float32); ``rle_rows`` R ascending object
            numbers; ``rle_sizes`` R x 2 int32 (height, width); ``rle_offsets`` R + 1 into ``rle_text`` uint8;
            ``image_counts`` K int64, images with each class, empty if the json does not tell.
        doubts: what makes the json as a whole look wrong, for the log; empty if nothing does.
    """

    source: Path
    categories: Categories
    skipped: dict[str, tuple[int, list[int]]]
    arrays: dict[str, np.ndarray]
    doubts: str = ""

    def __len__(self) -> int:
        return len(self.arrays["image_ids"])

    @property
    def num_objects(self) -> int:
        """Objects of all images together, crowds included."""
        return len(self.arrays["boxes"])

    def file_name(self, image: int) -> str:
        """The json's ``file_name`` of image number ``image``."""
        start, stop = self.arrays["name_offsets"][image : image + 2]
        return self.arrays["names"][start:stop].tobytes().decode()

    def image_size(self, image: int) -> tuple[int, int] | None:
        """(height, width) from the json, ``None`` where it does not say."""
        height, width = self.arrays["image_sizes"][image].tolist()
        return (height, width) if height else None

    def objects(self, image: int) -> ImageAnnotations:
        """Objects of image number ``image``; the arrays are copies."""
        a = self.arrays
        start, stop = a["image_offsets"][image : image + 2].tolist()
        rows = slice(start, stop)
        return ImageAnnotations(
            ids=a["ids"][rows].copy(),
            boxes=a["boxes"][rows].copy(),
            classes=a["classes"][rows].astype(np.int64),
            crowd=a["crowd"][rows].copy(),
            segmentations=[self._segmentation(row) for row in range(start, stop)],
        )

    def images_of_objects(self) -> np.ndarray:
        """N int64: number of the image that each object is in."""
        return np.repeat(np.arange(len(self)), np.diff(self.arrays["image_offsets"]))

    def has_masks(self) -> np.ndarray:
        """N bool: whether each object has polygons or a run-length encoding."""
        present = np.diff(self.arrays["part_offsets"]) > 0
        present[self.arrays["rle_rows"]] = True
        return present

    def _segmentation(self, row: int) -> Segmentation:
        a = self.arrays
        first, last = a["part_offsets"][row : row + 2].tolist()
        if last > first:
            bounds = a["point_offsets"][first : last + 1].tolist()
            return [a["points"][i:j].reshape(-1, 2).copy() for i, j in pairwise(bounds)]
        at = int(np.searchsorted(a["rle_rows"], row))
        if at == len(a["rle_rows"]) or a["rle_rows"][at] != row:
            return None
        start, stop = a["rle_offsets"][at : at + 2]
        return {"size": a["rle_sizes"][at].tolist(), "counts": a["rle_text"][start:stop].tobytes()}
