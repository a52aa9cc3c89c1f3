"""Depth metrics of a model, image by image and across processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from pe_dense.evaluation.dense import DenseComparison, DenseData, as_map, image_id_of
from pe_dense.evaluation.dense_maps import DenseResultsWriter
from pe_dense.evaluation.depth import (
    ALIGNMENTS,
    CROPS,
    DEPTH_METRICS,
    Alignment,
    Crop,
    apply_alignment,
    crop_window,
    depth_metrics,
    fit_alignment,
    place_prediction,
)
from pe_dense.evaluation.gather import Shard, from_first_process, gather_shards, merge_shards
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)


class DepthData(DenseData, Protocol):
    """Ground truth of depth."""

    def read_depth(self, index: int) -> np.ndarray:
        """H x W float32 metres, 0 where unknown, at its native size."""


class DepthEvaluator:
    """Depth by the protocol of Eigen et al. and BTS; an :class:`~pe_dense.evaluation.Evaluator`.

    Pixels count whose ground truth lies strictly between ``min_depth`` and ``max_depth``, within the crop. The
    prediction is aligned over these pixels, then clamped to that range, NaN becoming ``min_depth`` and infinity
    ``max_depth``. The metrics are taken per image, then averaged over the images; an image without a pixel that counts
    is left out. Only the numbers of each image are kept.

    Args:
        dataset: with ``file_name(i)`` and ``read_depth(i)``, i being the samples' ``image_id``.
        min_depth, max_depth: metres; NYU: 0.001 and 10, KITTI: 0.001 and 80.
        crop: None, "eigen_nyu", "garg", "eigen_kitti", or "kb", "kb_garg" and "kb_eigen_kitti", which take KITTI's
            352 x 1216 pixels first (:func:`~pe_dense.evaluation.depth.crop_window`); a prediction of that size is put
            in its place.
        alignment: "metric" (none), "median" or "least_squares" for depth that is relative, "least_squares_disparity"
            for a model that returns disparity (nearer is larger).
        output_dir: where predictions are saved, in ``depth/``.
        save: write a 16-bit PNG of each prediction before its alignment, see
            :class:`~pe_dense.evaluation.dense_maps.DenseResultsWriter`.

    Raises:
        ValueError: for an unknown crop or alignment, or an empty range of depths.
    """

    task = "depth"

    def __init__(
        self,
        dataset: DepthData,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        crop: Crop | None = None,
        alignment: Alignment = "metric",
        output_dir: str | Path | None = None,
        save: bool = False,
    ) -> None:
        if not 0 < min_depth < max_depth:
            raise ValueError(f"min_depth ({min_depth}) must be above 0 and below max_depth ({max_depth})")
        if crop is not None and crop not in CROPS:
            raise ValueError(f'crop must be one of {", ".join(CROPS)}, or None; it is "{crop}"')
        if alignment not in ALIGNMENTS:
            raise ValueError(f'alignment must be one of {", ".join(ALIGNMENTS)}; it is "{alignment}"')
        if save and output_dir is None:
            raise ValueError("save=True needs an output_dir to save the predictions in")
        self.dataset = dataset
        self.min_depth, self.max_depth = min_depth, max_depth
        self.crop: Crop | None = crop
        self.alignment: Alignment = alignment
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._writer = DenseResultsWriter(Path(output_dir) / "depth", dataset) if save and output_dir else None
        self._shard: dict[int, bytes] = {}

    def reset(self) -> None:
        """Forget every prediction."""
        self._shard = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take the predictions of a batch.

        Args:
            inputs: samples with ``image_id``.
            outputs: for each sample ``{"depth": H x W}`` at the ground truth's size, or the KB crop's.

        Raises:
            ValueError: if an image is not in the data set or a prediction has another size.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            image_id = image_id_of(sample, self.dataset)
            prediction, truth, finite = self._maps(image_id, output)
            counted_pixels = self._counted(image_id, truth)
            row: dict[str, Any] = {"metrics": [], "finite": finite, "saved": None}
            if counted_pixels.any():
                _, scores = self._score(prediction[counted_pixels], truth[counted_pixels])
                row["metrics"] = list(scores.values())
            if self._writer is not None:
                row["saved"] = self._save(self._writer, image_id, as_map(output, "depth", self._name(image_id)))
            self._shard[image_id] = orjson.dumps(row)

    def evaluate(self) -> dict[str, float]:
        """Average over all images processed since :meth:`reset`, by any process; collective.

        Returns:
            "depth/abs_rel" and the other numbers of :func:`~pe_dense.evaluation.depth_metrics`, "depth/images" (how
            many they are averaged over) and "depth/skipped" (how many had no pixel that counts), in every process.

        Raises:
            ValueError: if no image was processed, or none has a pixel that counts.
        """
        shards = gather_shards(self._shard, self.output_dir)
        return from_first_process(lambda: self._average(shards or []))

    def compare(self, image_id: int, output: Mapping[str, Any]) -> DenseComparison:
        """One image's ground truth where it counts, its aligned prediction, and its metrics; sorted by AbsRel."""
        prediction, truth, _ = self._maps(image_id, output)
        counted_pixels = self._counted(image_id, truth)
        fit = (1.0, 0.0)
        scores: dict[str, float] = {}
        if counted_pixels.any():
            fit, scores = self._score(prediction[counted_pixels], truth[counted_pixels])
        aligned = apply_alignment(prediction, fit, self.alignment, self.min_depth, self.max_depth)
        known = np.where(counted_pixels, truth, 0).astype(np.float32)
        return DenseComparison(known, aligned.astype(np.float32), scores, scores.get("abs_rel", float("nan")))

    def _name(self, image_id: int) -> str:
        return self.dataset.file_name(image_id)

    def _maps(self, image_id: int, output: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, bool]:
        """Prediction and ground truth of one size, and whether the prediction is finite."""
        truth = self.dataset.read_depth(image_id)
        prediction = as_map(output, "depth", self._name(image_id))
        try:
            placed = place_prediction(prediction, *truth.shape)
        except ValueError as error:
            raise ValueError(f"{self._name(image_id)}: {error}") from None
        return placed, truth, bool(np.isfinite(prediction).all())

    def _counted(self, image_id: int, truth: np.ndarray) -> np.ndarray:
        """Which pixels count: H x W bool."""
        try:
            top, bottom, left, right = crop_window(self.crop, *truth.shape)
        except ValueError as error:
            raise ValueError(f"{self._name(image_id)}: {error}") from None
        inside = truth[top:bottom, left:right]
        where = np.zeros(truth.shape, dtype=bool)
        where[top:bottom, left:right] = (inside > self.min_depth) & (inside < self.max_depth)
        return where

    def _score(self, prediction: np.ndarray, truth: np.ndarray) -> tuple[tuple[float, float], dict[str, float]]:
        """Alignment and metrics of the pixels that count."""
        fit = fit_alignment(prediction, truth, self.alignment)
        return fit, depth_metrics(
            apply_alignment(prediction, fit, self.alignment, self.min_depth, self.max_depth), truth
        )

    def _save(self, writer: DenseResultsWriter, image_id: int, prediction: np.ndarray) -> dict[str, Any]:
        if self.alignment == "metric":
            depth = apply_alignment(prediction, (1.0, 0.0), "metric", self.min_depth, self.max_depth)
            return writer.add_depth(image_id, depth, self.max_depth)
        return writer.add_depth(image_id, prediction, None)

    def _average(self, shards: Sequence[Shard]) -> dict[str, float]:
        rows = {i: orjson.loads(text) for i, text in merge_shards(shards, len(self.dataset), "the data set").items()}
        if self._writer is not None:
            self._writer.finish("depth", [row["saved"] for row in rows.values()])
        scored = [row["metrics"] for row in rows.values() if row["metrics"]]
        skipped = [i for i, row in rows.items() if not row["metrics"]]
        broken = [i for i, row in rows.items() if not row["finite"]]
        if not scored:
            raise ValueError(
                f"none of {counted(len(rows), 'image')} (the first is {self._name(skipped[0])}) has a pixel with "
                f"depth between {self.min_depth:g} and {self.max_depth:g} m in the crop; check the depth files' scale"
            )
        for images, what in (
            (skipped, "no ground truth that counts: left out"),
            (broken, "predictions that are NaN or infinite: taken for the ends of the range"),
        ):
            if images:
                logger.warning("%s (first %s) with %s", counted(len(images), "image"), self._name(images[0]), what)
        means = np.array(scored, dtype=np.float64).mean(axis=0).tolist()
        metrics = {f"depth/{name}": value for name, value in zip(DEPTH_METRICS, means)}
        return {**metrics, "depth/images": float(len(scored)), "depth/skipped": float(len(skipped))}
