"""LVIS box and mask AP of a model, image by image and across processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pe_dense.evaluation.coco_evaluator import CocoEvaluator
from pe_dense.evaluation.ground_truth import TASKS, GroundTruth
from pe_dense.evaluation.lvis import lvis_numbers, lvis_truth


class LvisEvaluator(CocoEvaluator):
    """LVIS's protocol for detections and instance masks; an :class:`~pe_dense.evaluation.Evaluator`.

    The numbers are those of :func:`~pe_dense.evaluation.evaluate_lvis_results`; all else is as in
    :class:`CocoEvaluator`.

    Args:
        json_file: ground truth of LVIS (v0.5 or v1).
        tasks: see :class:`CocoEvaluator`.
        output_dir: see :class:`CocoEvaluator`.
        max_detections: highest number of detections per image, over all classes, that counts.

    Raises:
        FileNotFoundError: if ``json_file`` does not exist.
        ValueError: if it is malformed, has no annotations, is not a json of LVIS, or lacks what a task needs.
    """

    measure = staticmethod(lvis_numbers)

    def __init__(
        self,
        json_file: str | Path,
        tasks: Sequence[str] | None = TASKS,
        output_dir: str | Path | None = None,
        max_detections: int = 300,
    ) -> None:
        super().__init__(json_file, tasks, output_dir, max_detections)

    def _read(self, json_file: str | Path, tasks: Sequence[str] | None) -> GroundTruth:
        return lvis_truth(json_file, tasks)
