"""COCO's twelve numbers for boxes and for masks (https://cocodataset.org/#detection-eval)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import hotcoco
import numpy as np

from pe_dense.evaluation.columns import Row
from pe_dense.evaluation.detections import ANOTHER_DATA_SET, Detections
from pe_dense.evaluation.ground_truth import TASKS, GroundTruth
from pe_dense.evaluation.json_file import paused_gc, read_json
from pe_dense.evaluation.table import distinct_names
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

Measure = Callable[[GroundTruth, Detections, str, np.ndarray | None, int], dict[str, float]]
"""(truth, detections, task, positions of the images to score or None, detection limit) -> the task's numbers."""

_SIZES = (("s", 1), ("m", 2), ("l", 3))  # where the protocols have their areas


def evaluate_coco_results(
    json_file: str | Path,
    results: str | Path | Sequence[Row],
    tasks: Sequence[str] | None = TASKS,
    max_detections: int = 100,
    image_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Score saved results over all images of the ground truth, as COCO's own server does, or over some of them.

    Args:
        json_file: COCO-format ground truth.
        results: a results json, or its rows: ``{"image_id", "category_id", "bbox", "score", "segmentation"}``.
        tasks: of "bbox" and "segm"; None takes what the ground truth and the results both have.
        max_detections: highest number of detections per image and class that counts.
        image_ids: the images to score; None for all.

    Returns:
        Percentages, for each task "bbox/AP", "bbox/AP50", "bbox/AP75", "bbox/APs", "bbox/APm", "bbox/APl", "bbox/AR1",
        "bbox/AR10", "bbox/AR100", "bbox/ARs", "bbox/ARm", "bbox/ARl" and "bbox/AP-<class>"; NaN where the ground truth
        has no such object.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is malformed, the results are of another data set, or the ground truth lacks an image.
    """
    return score_file(GroundTruth.from_json(json_file, tasks), results, tasks is None, max_detections, image_ids)


def score_file(
    truth: GroundTruth,
    results: str | Path | Sequence[Row],
    optional_tasks: bool,
    max_detections: int,
    image_ids: Sequence[int] | None,
    measure: Measure | None = None,
) -> dict[str, float]:
    """What :func:`evaluate_coco_results` does with a ground truth that has been read.

    Args:
        truth: ground truth.
        results: see :func:`evaluate_coco_results`.
        optional_tasks, measure: see :func:`score`.
        max_detections, image_ids: see :func:`evaluate_coco_results`.
    """
    source = "results"
    with paused_gc():
        if isinstance(results, str | Path):
            source = f"results {results}"
            rows = read_json(results, "results")
            if not isinstance(rows, list):
                raise ValueError(f"{source}: a COCO results file is a list of rows, this is a {type(rows).__name__}")
        else:
            rows = list(results)
        detections = Detections.from_rows(rows, truth, source, masks="segm" in truth.tasks)
        del rows
    _check_places(detections, truth, source)
    index = None if image_ids is None else _positions(truth, image_ids)
    return score(truth, detections, index, optional_tasks, max_detections, source, measure)


def _check_places(detections: Detections, truth: GroundTruth, source: str) -> None:
    """Image and category ids of two data sets are often the same numbers; places of boxes hardly ever are."""
    outside = int(detections.outside(truth).sum())
    if outside <= len(detections) / 10:  # a detector that does not clip its boxes may place a few there
        return
    finding = f"{source}: {counted(outside, 'box')} of {len(detections)} wholly outside the image it belongs to"
    if outside == len(detections):
        raise ValueError(f"{finding} by the sizes in {truth.path}; {ANOTHER_DATA_SET}")
    logger.warning("%s by the sizes in %s; is it the json that they were made for?", finding, truth.path)


def _positions(truth: GroundTruth, image_ids: Sequence[int]) -> np.ndarray:
    """Places of images among those of the ground truth."""
    known = {int(image_id): place for place, image_id in enumerate(truth.image_ids)}
    unknown = [i for i in image_ids if i not in known]
    if unknown:
        raise ValueError(
            f"image ids {unknown[:5]} are not in the ground truth {truth.path}; give the json they were evaluated on"
        )
    return np.array([known[i] for i in image_ids], dtype=np.int64)


def score(
    truth: GroundTruth,
    detections: Detections,
    image_index: np.ndarray | None = None,
    optional_tasks: bool = False,
    max_detections: int = 100,
    source: str = "results",
    measure: Measure | None = None,
) -> dict[str, float]:
    """The metrics of :func:`evaluate_coco_results` for every task of ``truth``.

    Args:
        truth: ground truth.
        detections: what to score.
        image_index: positions of the images to score among ``truth.image_ids``; None for all.
        optional_tasks: leave "segm" out where the detections have no masks, instead of raising or scoring 0.
        max_detections: see :func:`evaluate_coco_results`.
        source: where the detections come from, for messages.
        measure: computes the numbers of a task; None: COCO's protocol does.

    Raises:
        ValueError: if masks are to be scored and there are none, or ``max_detections`` is not positive.
    """
    if max_detections < 1:
        raise ValueError(f"max_detections must be at least 1, not {max_detections}")
    if not len(detections):
        logger.warning("%s: there are no detections", source)
    metrics: dict[str, float] = {}
    for task in truth.tasks:
        if task == "segm" and detections.rles is None and optional_tasks:
            continue
        if task == "segm" and detections.rles is None and len(detections):
            raise ValueError(f"{source}: there is no 'segmentation' for segm; evaluate with tasks=('bbox',)")
        numbers = (measure or coco_numbers)(truth, detections, task, image_index, max_detections)
        metrics.update({f"{task}/{name}": value for name, value in numbers.items()})
    if not metrics:
        raise ValueError(f"{source}: there is no 'segmentation', and {truth.path} has no boxes to evaluate against")
    return metrics


def coco_numbers(
    truth: GroundTruth, detections: Detections, task: str, image_index: np.ndarray | None, max_detections: int
) -> dict[str, float]:
    """COCO's numbers of one task; a :data:`Measure`."""
    evaluation = hotcoco.COCOeval(truth.coco, detections.coco(truth, task), task)
    limits = sorted({min(n, max_detections) for n in (1, 10, max_detections)})
    evaluation.params.max_dets = limits
    if image_index is not None:
        evaluation.params.img_ids = (np.unique(image_index) + 1).tolist()
    evaluation.evaluate()
    evaluation.accumulate()
    curves = evaluation.eval
    assert curves is not None  # set by accumulate()
    # IoU x recall x class x area x limit, and the same without recall; -1 where there is no ground truth
    precision, recall = np.asarray(curves["precision"]), np.asarray(curves["recall"])

    metrics = precisions(precision[..., -1])
    metrics.update({f"AR{limit}": mean_percent(recall[:, :, 0, i]) for i, limit in enumerate(limits)})
    metrics.update({f"AR{label}": mean_percent(recall[:, :, area, -1]) for label, area in _SIZES})
    metrics.update(class_precisions(precision[..., -1], truth))
    return metrics


def precisions(precision: np.ndarray) -> dict[str, float]:
    """AP, AP50, AP75, APs, APm and APl from IoU x recall x class x area."""
    whole = {name: mean_percent(precision[i, :, :, 0]) for name, i in (("AP", slice(None)), ("AP50", 0), ("AP75", 5))}
    return whole | {f"AP{label}": mean_percent(precision[..., area]) for label, area in _SIZES}


def class_precisions(precision: np.ndarray, truth: GroundTruth) -> dict[str, float]:
    """AP-<class> of every class from IoU x recall x class x area."""
    names = distinct_names(truth.categories.names, truth.categories.ids)
    return {f"AP-{name}": mean_percent(precision[:, :, k, 0]) for k, name in enumerate(names)}


def mean_percent(values: np.ndarray) -> float:
    """Mean in percent over the entries that exist."""
    present = values[values > -1]
    return float(present.mean()) * 100 if present.size else float("nan")
