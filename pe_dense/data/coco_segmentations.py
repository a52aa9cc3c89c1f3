"""Collecting the masks of a COCO json into flat arrays."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from pycocotools import mask as coco_mask

from pe_dense.data.errors import DataError
from pe_dense.data.rle import rle_areas

SHORT = "polygon with fewer than three points"
NOT_FINITE = "polygon with NaN or infinite numbers"


class SegmentationArrays:
    """Grows the mask arrays of :class:`~pe_dense.data.annotations.AnnotationTable`, object by object.

    Args:
        path: the json, for messages.
        image_sizes: M x 2 (height, width), 0 where unknown.
    """

    def __init__(self, path: Path, image_sizes: np.ndarray) -> None:
        self.path = path
        self.image_sizes = image_sizes
        self.skipped: dict[str, tuple[int, list[int]]] = {}
        self._points = array("f")
        self._point_offsets = array("q", [0])
        self._part_offsets = array("q", [0])
        self._rle_rows = array("q")
        self._rle_sizes = array("i")
        self._rle_text = bytearray()
        self._rle_offsets = array("q", [0])

    def add(self, row: int, image: int, annotation_id: int, segmentation: Any) -> None:
        """Append the mask of object number ``row`` (rows come in order); ``None`` and ``[]`` mean that it has none.

        Raises:
            DataError: if the mask is malformed, naming the annotation.
        """
        if isinstance(segmentation, list):
            for polygon in segmentation:
                self._add_polygon(annotation_id, polygon)
        elif isinstance(segmentation, dict):
            self._add_rle(row, image, annotation_id, segmentation)
        elif segmentation is not None:
            self._fail(annotation_id, "a segmentation that is neither a list of polygons nor a run-length encoding")
        self._part_offsets.append(len(self._point_offsets) - 1)

    def finish(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays; checks the run-length encodings.

        Args:
            ids: annotation id of each row.

        Raises:
            DataError: if an encoding does not describe exactly its image's pixels.
        """
        arrays: dict[str, np.ndarray] = {
            "part_offsets": np.array(self._part_offsets, dtype=np.int64),
            "point_offsets": np.array(self._point_offsets, dtype=np.int64),
            "points": np.array(self._points, dtype=np.float32),
            "rle_rows": np.array(self._rle_rows, dtype=np.int64),
            "rle_sizes": np.array(self._rle_sizes, dtype=np.int32).reshape(-1, 2),
            "rle_offsets": np.array(self._rle_offsets, dtype=np.int64),
            "rle_text": np.frombuffer(bytes(self._rle_text), dtype=np.uint8),
        }
        pixels = arrays["rle_sizes"].astype(np.int64).prod(axis=1)
        bad = np.flatnonzero(rle_areas(arrays["rle_text"], arrays["rle_offsets"]) != pixels)
        if len(bad):
            annotation_id = int(ids[arrays["rle_rows"][bad[0]]])
            self._fail(annotation_id, "a malformed run-length encoding: its runs do not add up to height x width")
        return self._drop_not_finite(arrays, ids)

    def _add_polygon(self, annotation_id: int, polygon: Any) -> None:
        if not isinstance(polygon, list | array) or len(polygon) % 2:
            self._fail(annotation_id, "a polygon that is not a list [x1, y1, x2, y2, ...]")
        if len(polygon) < 6:
            self._skip(SHORT, annotation_id)
            return
        try:
            self._points.extend(polygon)
        except TypeError:
            self._fail(annotation_id, "a polygon with something other than numbers")
        self._point_offsets.append(len(self._points))

    def _add_rle(self, row: int, image: int, annotation_id: int, rle: dict[str, Any]) -> None:
        size, counts = rle.get("size"), rle.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(s, int) and 0 < s < 2**31 for s in size)):
            self._fail(annotation_id, f"a run-length encoding with size {size!r}")
        known = self.image_sizes[image].tolist()
        if known[0] and known != size:
            self._fail(annotation_id, f"a run-length encoding of size {size} in an image of size {known}")
        if isinstance(counts, list):
            if not all(isinstance(c, int) and 0 <= c < 2**32 for c in counts) or sum(counts) != size[0] * size[1]:
                self._fail(annotation_id, "a malformed run-length encoding: its runs do not add up to height x width")
            text = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)["counts"]
        elif isinstance(counts, str):
            text = counts.encode()
        else:
            self._fail(annotation_id, "a run-length encoding without 'counts'")
        self._rle_rows.append(row)
        self._rle_sizes.extend(size)
        self._rle_text += text
        self._rle_offsets.append(len(self._rle_text))

    def _drop_not_finite(self, arrays: dict[str, np.ndarray], ids: np.ndarray) -> dict[str, np.ndarray]:
        finite = np.isfinite(arrays["points"])
        if finite.all():
            return arrays
        lengths = np.diff(arrays["point_offsets"])
        good = np.add.reduceat(~finite, arrays["point_offsets"][:-1]) == 0
        owner = np.repeat(np.arange(len(ids)), np.diff(arrays["part_offsets"]))
        for row in owner[~good].tolist():
            self._skip(NOT_FINITE, int(ids[row]))
        parts = np.bincount(owner[good], minlength=len(ids))
        return {
            **arrays,
            "points": arrays["points"][np.repeat(good, lengths)],
            "point_offsets": np.concatenate([[0], np.cumsum(lengths[good])]),
            "part_offsets": np.concatenate([[0], np.cumsum(parts)]),
        }

    def _skip(self, why: str, annotation_id: int) -> None:
        count, examples = self.skipped.get(why, (0, []))
        self.skipped[why] = (count + 1, [*examples, annotation_id][:3])

    def _fail(self, annotation_id: int, what: str) -> NoReturn:
        name = f"annotation id {annotation_id}" if annotation_id >= 0 else f"annotation number {-1 - annotation_id}"
        raise DataError(f"{self.path}: {name} has {what}; correct it or remove the annotation")
