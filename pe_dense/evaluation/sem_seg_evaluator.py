"""Semantic segmentation scores of a model from one confusion matrix over all images and processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from pe_dense.evaluation.dense import DenseComparison, DenseData, as_map, image_id_of
from pe_dense.evaluation.dense_maps import DenseResultsWriter
from pe_dense.evaluation.gather import Shard, from_first_process, gather_shards, gather_values, merge_shards
from pe_dense.evaluation.segmentation import IGNORE, boundary_counts, confusion_matrix, ious, mean_of_present, ratios
from pe_dense.evaluation.table import distinct_names
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)


class SemSegData(DenseData, Protocol):
    """Ground truth of semantic segmentation."""

    @property
    def classes(self) -> Sequence[str]:
        """Names by class index."""

    def read_sem_seg(self, index: int) -> np.ndarray:
        """H x W class indices, 255 where nothing counts, at its native size."""


class SemSegEvaluator:
    """Mean IoU and its relatives in percent; an :class:`~pe_dense.evaluation.Evaluator`.

    Pixels are counted over the data set, then divided (not averaged over images). A class that neither ground truth nor
    predictions have is NaN and left out of the means. Only the counts are kept.

    Args:
        dataset: with ``classes``, ``file_name(i)`` and ``read_sem_seg(i)``, i being the samples' ``image_id``.
        output_dir: where predictions are saved, in ``sem_seg/``.
        boundary: width of the bands of Boundary IoU in image diagonals; None leaves Boundary IoU out.
        save: write an 8-bit PNG of the class indices of each prediction.

    Raises:
        ValueError: if there are no classes or too many for 8-bit labels, or ``boundary`` is not positive.
    """

    task = "sem_seg"

    def __init__(
        self,
        dataset: SemSegData,
        output_dir: str | Path | None = None,
        boundary: float | None = 0.02,
        save: bool = False,
    ) -> None:
        if not 0 < len(dataset.classes) <= IGNORE:
            raise ValueError(f"the data set has {len(dataset.classes)} classes; there must be 1 to {IGNORE}")
        if boundary is not None and boundary <= 0:
            raise ValueError(f"boundary must be positive, or None to leave Boundary IoU out; it is {boundary}")
        if save and output_dir is None:
            raise ValueError("save=True needs an output_dir to save the predictions in")
        self.dataset = dataset
        self.boundary = boundary
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._writer = DenseResultsWriter(Path(output_dir) / "sem_seg", dataset) if save and output_dir else None
        self.reset()

    def reset(self) -> None:
        """Forget every prediction."""
        num_classes = len(self.dataset.classes)
        self._confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
        self._bands = np.zeros((3, num_classes), dtype=np.int64)
        self._shard: dict[int, bytes] = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take the predictions of a batch; an image that was taken before is passed over.

        Args:
            inputs: samples with ``image_id``.
            outputs: for each sample ``{"sem_seg": H x W class indices}`` at the ground truth's size.

        Raises:
            ValueError: if an image is not in the data set, a prediction has another size, or a label is no class.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            image_id = image_id_of(sample, self.dataset)
            if image_id in self._shard:
                continue
            prediction, truth, confusion = self._counts(image_id, output)
            self._confusion += confusion
            if self.boundary is not None:
                self._bands += boundary_counts(truth, prediction, len(self.dataset.classes), self.boundary)
            row: dict[str, Any] = {"counts": bool(confusion.any()), "saved": None}
            if self._writer is not None:
                row["saved"] = self._writer.add_labels(image_id, prediction)
            self._shard[image_id] = orjson.dumps(row)

    def evaluate(self) -> dict[str, float]:
        """Scores over all images processed since :meth:`reset`, by any process; collective.

        Returns:
            Percentages in every process: "sem_seg/mIoU", "sem_seg/mAcc" (mean over the classes of the share of their
            pixels that is right), "sem_seg/aAcc" (share of all pixels), "sem_seg/mBIoU" (Boundary IoU),
            "sem_seg/IoU-<class>" and "sem_seg/BIoU-<class>"; and "sem_seg/images" and "sem_seg/skipped", the number of
            images with and without a pixel that counts.

        Raises:
            ValueError: if no image was processed, none has a pixel that counts, or two processes had the same one.
        """
        shards = gather_shards(self._shard, self.output_dir)
        counts = gather_values((self._confusion, self._bands))
        return from_first_process(lambda: self._score(shards or [], counts or []))

    def compare(self, image_id: int, output: Mapping[str, Any]) -> DenseComparison:
        """One image's ground truth, its prediction, and its own scores; sorted by the share of wrong pixels."""
        prediction, truth, confusion = self._counts(image_id, output)
        scores = {name: value / 100 for name, value in _means(confusion).items()} if confusion.any() else {}
        return DenseComparison(truth, prediction, scores, 1 - scores.get("aAcc", float("nan")))

    def _counts(self, image_id: int, output: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prediction, ground truth and confusion matrix of an image."""
        name = self.dataset.file_name(image_id)
        prediction, truth = as_map(output, "sem_seg", name), self.dataset.read_sem_seg(image_id)
        if prediction.shape != truth.shape:
            raise ValueError(
                f"{name}: the prediction has shape {prediction.shape} but the ground truth {truth.shape}; "
                "the model must return labels at the size of the original image"
            )
        try:
            return prediction, truth, confusion_matrix(truth, prediction, len(self.dataset.classes))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _score(self, shards: Sequence[Shard], counts: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        if repeated := sum(map(len, shards)) - len(set().union(*shards)):
            raise ValueError(
                f"{counted(repeated, 'image')} went to more than one process and would count twice; "
                "give each process its own share of the test images"
            )
        rows = {i: orjson.loads(text) for i, text in merge_shards(shards, len(self.dataset), "the data set").items()}
        names = distinct_names(self.dataset.classes, range(len(self.dataset.classes)))
        if self._writer is not None:
            self._writer.finish("sem_seg", [row["saved"] for row in rows.values()], classes=list(self.dataset.classes))
        skipped = [i for i, row in rows.items() if not row["counts"]]
        if len(skipped) == len(rows):
            raise ValueError(
                f"none of {counted(len(rows), 'image')} (the first is {self.dataset.file_name(skipped[0])}) has a "
                "labelled pixel; check the label files"
            )
        if skipped:
            logger.warning(
                "%s (first %s) without a labelled pixel: left out",
                counted(len(skipped), "image"), self.dataset.file_name(skipped[0]),
            )  # fmt: skip
        confusion, bands = (np.sum(parts, axis=0) for parts in zip(*counts))
        metrics = _means(confusion)
        columns = {"IoU": _class_ious(confusion)}
        if self.boundary is not None:
            columns["BIoU"] = 100 * ious(*bands)
            metrics["mBIoU"] = mean_of_present(columns["BIoU"])
        metrics |= {"images": float(len(rows) - len(skipped)), "skipped": float(len(skipped))}
        for column, values in columns.items():
            metrics.update({f"{column}-{name}": value for name, value in zip(names, values.tolist())})
        return {f"sem_seg/{key}": value for key, value in metrics.items()}


def _class_ious(confusion: np.ndarray) -> np.ndarray:
    """Percent, NaN for absent classes."""
    return 100 * ious(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))


def _means(confusion: np.ndarray) -> dict[str, float]:
    """Percent."""
    right, pixels = confusion.diagonal(), confusion.sum(axis=1)
    return {
        "mIoU": mean_of_present(_class_ious(confusion)),
        "mAcc": 100 * mean_of_present(ratios(right, pixels)),
        "aAcc": 100 * float(right.sum() / pixels.sum()),
    }
