"""Results in COCO's format as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import hotcoco
import hotcoco.mask
import numpy as np

from pe_dense.evaluation.columns import Row, box_column, float_column, int_column, positions
from pe_dense.evaluation.ground_truth import GroundTruth
from pe_dense.evaluation.rle import rle_fault, rles_sound
from pe_dense.structures.wording import counted

ANOTHER_DATA_SET = "these are results of another data set, give the json that they were made for"


@dataclass(frozen=True)
class Detections:
    """N detections of a data set.

    Attributes:
        image_index: N int64, position of the image among the ground truth's ascending image ids.
        class_index: N int64, contiguous class index.
        boxes: N x 4 float64, x, y, width, height.
        scores: N float64.
        rles: N compressed RLEs, or None for boxes only.
        boxes_from_masks: whether the boxes are those of the masks, because none were given.
    """

    image_index: np.ndarray
    class_index: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    rles: list[dict[str, Any]] | None
    boxes_from_masks: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_rows(cls, rows: Sequence[Row], truth: GroundTruth, source: str, masks: bool = True) -> Detections:
        """Check and convert rows ``{"image_id", "category_id", "score", "bbox" and/or "segmentation"}``.

        The first row decides which of ``bbox`` and ``segmentation`` all rows have. Boxes that are not given are those
        of the masks, as in pycocotools.

        Args:
            rows: results in COCO's format; boxes are x, y, width, height.
            truth: the data set they belong to.
            source: where they come from, for error messages.
            masks: whether to read segmentations.

        Raises:
            ValueError: naming the first faulty row and the fault.
        """
        if not len(rows):
            none = np.zeros(0, dtype=np.int64)
            return cls(none, none, np.zeros((0, 4)), np.zeros(0), None)
        for index in (0, len(rows) - 1):
            if not isinstance(rows[index], Mapping):
                raise ValueError(f"{source}: row {index} is not an object with 'image_id', 'category_id', 'score'")
        has_boxes, has_masks = "bbox" in rows[0], masks and "segmentation" in rows[0]
        if not has_boxes and "segmentation" not in rows[0]:
            raise ValueError(f"{source}: row 0 has neither 'bbox' nor 'segmentation'")

        image_index = _look_up(rows, "image_id", truth.image_ids, truth, source)
        category_ids = np.array(truth.categories.ids, dtype=np.int64)
        class_index = _look_up(rows, "category_id", category_ids, truth, source)
        scores = float_column(rows, "score", lambda i: f"{source}: row {i}")
        rles: list[Any] | None = None
        if has_masks or not has_boxes:
            rles = _rles(rows, truth.sizes[image_index], source)
        if has_boxes:
            boxes = box_column(rows, "bbox", lambda i: f"{source}: row {i}")
        else:
            boxes = hotcoco.mask.to_bbox(rles or [])
        return cls(image_index, class_index, boxes, scores, rles, boxes_from_masks=not has_boxes)

    @classmethod
    def cat(cls, parts: Sequence[Detections], source: str) -> Detections:
        """Join detections of the same data set.

        Raises:
            ValueError: if some parts have masks and others do not.
        """
        filled = [p for p in parts if len(p)] or list(parts[:1])
        with_masks = [p.rles for p in filled if p.rles is not None]
        if with_masks and len(with_masks) != len(filled):
            raise ValueError(f"{source}: some results have masks and others do not; give all of them 'segmentation'")
        return cls(
            image_index=np.concatenate([p.image_index for p in filled]),
            class_index=np.concatenate([p.class_index for p in filled]),
            boxes=np.concatenate([p.boxes for p in filled]),
            scores=np.concatenate([p.scores for p in filled]),
            rles=list(chain.from_iterable(with_masks)) if with_masks else None,
            boxes_from_masks=filled[0].boxes_from_masks,
        )

    def outside(self, truth: GroundTruth) -> np.ndarray:
        """N bool: whether the box lies wholly outside its image; False where the json does not tell the size."""
        limits = truth.sizes[self.image_index][:, ::-1]
        start, stop = self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]
        return np.asarray(((start > limits) | (stop < 0)).any(axis=1) & (limits > 0).all(axis=1))

    def coco(self, truth: GroundTruth, task: str) -> hotcoco.COCO:
        """The detections as hotcoco results of ``truth.coco``.

        The size of a detection is its box's area for "bbox" and its mask's for "segm", as in detectron2; it is the
        mask's for both where no boxes were given, as in pycocotools.
        """
        table = np.column_stack([self.image_index + 1, self.boxes, self.scores, self.class_index + 1])
        if self.rles is None or (task == "bbox" and not self.boxes_from_masks):
            return truth.coco.load_res(table)
        results = truth.coco.load_res(table, segmentation=[*self.rles])
        areas = np.asarray(hotcoco.mask.area(self.rles), dtype=np.float64)
        results.update_anns(ids=np.arange(1, len(self) + 1), area=areas)
        return results


def _look_up(rows: Sequence[Row], key: str, ids: np.ndarray, truth: GroundTruth, source: str) -> np.ndarray:
    """Position in the ascending ``ids`` of the integer field ``key`` of every row."""
    values = int_column(rows, key, lambda i: f"{source}: row {i}")
    index, unknown = positions(values, ids)
    if len(unknown):
        strange = np.unique(values[unknown]).tolist()
        examples = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
        raise ValueError(
            f"{source}: {counted(len(strange), f'value of {key}')} ({examples}) not in the ground truth {truth.path}; "
            f"{ANOTHER_DATA_SET}"
        )
    return index


def _rles(rows: Sequence[Row], sizes: np.ndarray, source: str) -> list[Any]:
    """The segmentations, each a sound RLE of its image's size."""
    rles = [row.get("segmentation") for row in rows]
    if not rles_sound(rles, sizes):
        for index, (rle, size) in enumerate(zip(rles, sizes.tolist())):
            if fault := rle_fault(rle, (size[0], size[1])):
                raise ValueError(f"{source}: row {index} has a segmentation that {fault}")
    return rles
