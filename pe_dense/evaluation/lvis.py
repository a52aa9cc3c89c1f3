"""LVIS's numbers for boxes and for masks: a federated data set, in which no image is labelled with every class.

A detection counts only where its class is known to be there or not to be there (arXiv 1908.03195, section 2), and only
if its box or mask has an area.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import hotcoco
import numpy as np

from pe_dense.evaluation.coco import class_precisions, mean_percent, precisions, score_file
from pe_dense.evaluation.columns import Row
from pe_dense.evaluation.detections import Detections
from pe_dense.evaluation.federated import FREQUENCIES
from pe_dense.evaluation.ground_truth import TASKS, GroundTruth


def evaluate_lvis_results(
    json_file: str | Path,
    results: str | Path | Sequence[Row],
    tasks: Sequence[str] | None = TASKS,
    max_detections: int = 300,
    image_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Score saved results over all images of the ground truth, as LVIS's own server does, or over some of them.

    Args:
        json_file: ground truth of LVIS (v0.5 or v1).
        results: a results json, or its rows, as for :func:`~pe_dense.evaluation.evaluate_coco_results`.
        tasks: of "bbox" and "segm"; None takes what the ground truth and the results both have.
        max_detections: highest number of detections per image, over all classes, that counts.
        image_ids: the images to score; None for all.

    Returns:
        Percentages, for each task "bbox/AP", "bbox/AP50", "bbox/AP75", "bbox/APs", "bbox/APm", "bbox/APl", "bbox/APr",
        "bbox/APc", "bbox/APf" (rare, common and frequent classes), "bbox/AR300", "bbox/ARs", "bbox/ARm", "bbox/ARl" and
        "bbox/AP-<class>"; NaN where the ground truth has no such object.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is malformed, the ground truth is not LVIS's or lacks an image, or the results are of
            another data set.
    """
    truth = lvis_truth(json_file, tasks)
    return score_file(truth, results, tasks is None, max_detections, image_ids, lvis_numbers)


def lvis_truth(json_file: str | Path, tasks: Sequence[str] | None) -> GroundTruth:
    """Read and check a ground truth of LVIS.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is malformed or not a json of LVIS.
    """
    truth = GroundTruth.from_json(json_file, tasks)
    if truth.not_lvis:
        raise ValueError(f"ground truth {truth.path}: {truth.not_lvis}")
    return truth


def lvis_numbers(
    truth: GroundTruth, detections: Detections, task: str, image_index: np.ndarray | None, max_detections: int
) -> dict[str, float]:
    """LVIS's numbers of one task; a :data:`~pe_dense.evaluation.coco.Measure`."""
    best = detections.coco(truth, task).cap_detections_per_image(max_detections)
    evaluation = hotcoco.COCOeval(truth.coco, best, task, lvis_style=True)
    evaluation.params.max_dets = [max_detections]
    # what has no area, such as an empty mask, is left out as in LVIS's own evaluation: neither right nor wrong
    evaluation.params.area_rng = [[max(low, sys.float_info.min), high] for low, high in evaluation.params.area_rng]
    if image_index is not None:
        evaluation.params.img_ids = (np.unique(image_index) + 1).tolist()
    evaluation.evaluate()
    evaluation.accumulate()
    curves = evaluation.eval
    assert curves is not None  # set by accumulate()
    # IoU x recall x class x area, and the same without recall; -1 where there is no ground truth
    precision, recall = np.asarray(curves["precision"])[..., 0], np.asarray(curves["recall"])[..., 0]

    metrics = precisions(precision)
    for frequency in FREQUENCIES:
        of_group = [k for k, f in enumerate(truth.frequencies) if f == frequency]
        metrics[f"AP{frequency}"] = mean_percent(precision[:, :, of_group, 0])
    for label, area in ((max_detections, 0), ("s", 1), ("m", 2), ("l", 3)):
        metrics[f"AR{label}"] = mean_percent(recall[:, :, area])
    return metrics | class_precisions(precision, truth)
