"""COCO box and mask AP of a model, image by image and across processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from pe_dense.evaluation.coco import coco_numbers, score
from pe_dense.evaluation.detections import Detections
from pe_dense.evaluation.gather import Shard, from_first_process, gather_shards, merge_shards
from pe_dense.evaluation.ground_truth import TASKS, GroundTruth
from pe_dense.evaluation.json_file import paused_gc
from pe_dense.evaluation.scope import write_evaluated_images
from pe_dense.structures import Categories, Instances, RoiMasks
from pe_dense.structures.masks import encode_rle
from pe_dense.structures.wording import counted

RESULTS_NAME = "coco_instances_results.json"
_IMAGES_AT_A_TIME = 256  # parsed together when scoring: bounds the number of rows that exist as Python objects


class CocoEvaluator:
    """COCO's protocol for detections and instance masks; an :class:`~pe_dense.evaluation.Evaluator`.

    Predictions become compact json text as soon as they arrive (masks as RLE), so nothing of an image's size is kept.
    The images scored are those processed, so a part of a data set can be evaluated.

    Args:
        json_file: COCO-format ground truth.
        tasks: of "bbox" and "segm"; None takes whatever the ground truth and the model's predictions both have: a json
            without masks, or a model that predicts none, is evaluated by its boxes alone.
        output_dir: where ``coco_instances_results.json`` (detectron2's name) and, beside it, the ids of the images it
            covers are written; None writes nothing. In a distributed run all processes must see this folder.
        max_detections: highest number of detections per image and class that counts.

    Raises:
        FileNotFoundError: if ``json_file`` does not exist.
        ValueError: if it is malformed, has no annotations, or lacks what a task needs.
    """

    measure = staticmethod(coco_numbers)

    def __init__(
        self,
        json_file: str | Path,
        tasks: Sequence[str] | None = TASKS,
        output_dir: str | Path | None = None,
        max_detections: int = 100,
    ) -> None:
        if max_detections < 1:
            raise ValueError(f"max_detections must be at least 1, not {max_detections}")
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.max_detections = max_detections
        self._optional_tasks = tasks is None
        self._truth = self._read(json_file, tasks)
        self._known_ids = set(self._truth.image_ids.tolist())
        self._shard: dict[int, bytes] = {}
        self._masks_seen = False

    @property
    def categories(self) -> Categories:
        """Classes of the ground truth."""
        return self._truth.categories

    @property
    def scores_masks(self) -> bool | None:
        """Whether masks are scored; ``None``: if the ground truth and the predictions have some."""
        return None if self._optional_tasks else "segm" in self._truth.tasks

    def reset(self) -> None:
        """Forget every prediction."""
        self._shard = {}
        self._masks_seen = False

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take the predictions of a batch.

        Args:
            inputs: samples with ``image_id``.
            outputs: for each sample ``{"instances": Instances}`` with boxes, classes, scores and, for "segm", masks, in
                the coordinates of the original image.

        Raises:
            ValueError: if an image is not in the ground truth, a class index is not below the number of classes, a
                number is not finite, or masks are to be scored and the model gives none.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            image_id = sample["image_id"]
            if image_id not in self._known_ids:
                raise ValueError(
                    f"image id {image_id!r} ({sample.get('file_name', 'no file name')}) is not in the ground truth "
                    f"{self._truth.path}; the loader and the evaluator must use the same json"
                )
            self._shard[int(image_id)] = orjson.dumps(self._rows(int(image_id), output["instances"]))

    def evaluate(self) -> dict[str, float]:
        """Score all images processed since :meth:`reset`, by any process; collective.

        Returns:
            The percentages that :func:`~pe_dense.evaluation.evaluate_coco_results` describes, in every process.

        Raises:
            ValueError: if no image was processed.
        """
        shards = gather_shards(self._shard, self.output_dir)
        return from_first_process(lambda: self._score(shards or []))

    def _read(self, json_file: str | Path, tasks: Sequence[str] | None) -> GroundTruth:
        """The ground truth."""
        return GroundTruth.from_json(json_file, tasks)

    def _rows(self, image_id: int, instances: Instances) -> list[dict[str, Any]]:
        """Rows of a results file for one image."""
        instances = instances.to("cpu")
        classes, scores = instances.classes, instances.scores
        if classes is None or scores is None:
            raise ValueError("predictions need Instances.classes and Instances.scores")
        if len(classes) and int(classes.max()) >= len(self.categories):
            raise ValueError(
                f"the model predicts class {int(classes.max())} (counted from 0) but {self._truth.path} has "
                f"{counted(len(self.categories), 'class')}; set num_classes to that"
            )
        finite = torch.isfinite(instances.boxes).all() and torch.isfinite(scores).all()
        if not finite:
            raise ValueError(f"the predictions for image id {image_id} contain NaN or infinite boxes or scores")
        corners = instances.boxes.double()
        boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
        json_ids = self.categories.ids
        rows: list[dict[str, Any]] = [
            {"image_id": image_id, "category_id": json_ids[c], "bbox": box, "score": s}
            for c, box, s in zip(classes.tolist(), boxes.tolist(), scores.tolist())
        ]
        self._masks_seen |= instances.masks is not None
        if "segm" in self._truth.tasks and rows:
            for row, rle in zip(rows, self._rles(instances.masks)):
                row["segmentation"] = rle
        return rows

    def _rles(self, masks: Tensor | RoiMasks | None) -> list[dict[str, Any]]:
        if isinstance(masks, RoiMasks):
            return masks.rle()
        if masks is not None:
            return [encode_rle(m.numpy()) for m in masks]
        if self._optional_tasks:
            return []
        raise ValueError("tasks contains 'segm' but the model predicts no masks; evaluate with tasks=('bbox',)")

    def _score(self, shards: Sequence[Shard]) -> dict[str, float]:
        merged = merge_shards(shards, len(self._known_ids), str(self._truth.path))
        if self.output_dir is not None:
            _write_results(merged.values(), self.output_dir)
            named = zip(self._truth.image_ids.tolist(), self._truth.file_names)
            write_evaluated_images(self.output_dir, self._truth.path, (row for row in named if row[0] in merged))
        source = "predictions"
        masks = "segm" in self._truth.tasks
        with paused_gc():
            parts = [
                Detections.from_rows(rows, self._truth, source, masks=masks) for rows in _in_groups(merged.values())
            ]
        return score(
            self._truth,
            Detections.cat(parts, source),
            image_index=np.searchsorted(self._truth.image_ids, np.fromiter(merged, dtype=np.int64)),
            optional_tasks=self._optional_tasks and not self._masks_seen,
            max_detections=self.max_detections,
            source=source,
            measure=self.measure,
        )


def _in_groups(texts: Any) -> Iterator[list[dict[str, Any]]]:
    """Rows of a few images at a time."""
    remaining = iter(texts)
    while group := list(islice(remaining, _IMAGES_AT_A_TIME)):
        yield [row for text in group for row in orjson.loads(text)]


def _write_results(texts: Any, folder: Path) -> None:
    """Write the results file under a temporary name, then rename it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{RESULTS_NAME}.partial"
    with partial.open("wb") as out:
        out.write(b"[")
        separator = b""
        for text in texts:
            if text != b"[]":
                out.write(separator + text[1:-1])
                separator = b",\n"
        out.write(b"]")
    os.replace(partial, folder / RESULTS_NAME)
