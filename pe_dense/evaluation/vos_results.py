"""Scoring a folder of saved masks of objects in videos."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from pe_dense.evaluation.vos import Plan, VosData, VosResults, VosSequence, logger, plan_scoring, score_frame
from pe_dense.evaluation.vos_scores import ObjectScores
from pe_dense.structures.wording import counted, few

MASKS_PER_WORKER = 150
"""Predicted objects that keep a process busy for as long as its start takes."""


@dataclass(frozen=True)
class _Job:
    """One sequence; travels to a worker process."""

    sequence: VosSequence
    frames: dict[str, list[int]]
    results: VosResults


def evaluate_vos_results(
    data: VosData,
    folder: str | Path,
    workers: int = 0,
    progress: Callable[[], object] | None = None,
) -> list[ObjectScores]:
    """Score ``folder/<sequence>/<frame>.png`` against a data set, without a model.

    J and F of each frame that counts, as DAVIS's semi-supervised evaluation computes them. A result for a frame or a
    sequence that is not scored is not looked at.

    Args:
        data: such as :class:`pe_dense.data.DAVIS2017`.
        folder: results as one submits them.
        workers: most processes that share the sequences (small sets get fewer); 0 to use this one only. The numbers are
            the same.
        progress: is called after each sequence.

    Returns:
        The scores of each object; see :func:`vos_metrics` and :func:`write_vos_tables`.

    Raises:
        FileNotFoundError: if the folder, or results of frames that count, do not exist; all of them are counted.
        ValueError: if there is nothing to score, or masks are unusable: of another size, coloured, with objects that
            the annotations lack; the first one of each sequence is named.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, it is {workers}")
    results = data.open_results(str(folder))
    if workers > 1:
        with ThreadPoolExecutor(workers) as threads:  # where no list tells, the objects come from the masks
            list(threads.map(lambda sequence: sequence.objects, data.sequences))
    plan = plan_scoring(data)
    _require_results(plan, results)
    jobs = [_Job(s, plan[s.name], results) for s in data.sequences if s.name in plan]
    scores: dict[str, list[ObjectScores]] = {}
    errors: dict[str, str] = {}
    masks = sum(len(objects) for job in jobs for objects in job.frames.values())
    for name, outcome in _run(jobs, min(workers, len(jobs), masks // MASKS_PER_WORKER)):
        if isinstance(outcome, str):
            errors[name] = outcome
        else:
            scores[name] = outcome
        if progress is not None:
            progress()
    if errors:
        first, *others = [job.sequence.name for job in jobs if job.sequence.name in errors]
        more = f" (and {counted(len(others), 'other sequence')} with a fault: {few(others)})" if others else ""
        raise ValueError(errors[first] + more)
    return [one for job in jobs for one in scores[job.sequence.name]]


def _require_results(plan: Plan, results: VosResults) -> None:
    """Raise unless every frame that counts has a result."""
    present = {name: results.frames(name) for name in plan}
    absent = [name for name in plan if not present[name]]
    missing = [f"{n}/{frame}" for n in plan if present[n] for frame in plan[n] if frame not in present[n]]
    if absent or missing:
        faults = []
        if absent:
            faults.append(f"{counted(len(absent), 'sequence')} of {len(plan)} ({few(absent)})")
        if missing:
            faults.append(f"{counted(len(missing), 'frame')} of other sequences ({few(missing)})")
        raise FileNotFoundError(
            f"{results.folder} lacks the results of {' and '.join(faults)}; it has "
            f"{few(results.sequences) or 'no folder'}: save <sequence>/<frame>.png named like the annotations, or "
            "score only the sequences that are there"
        )
    if extra := sorted(set(results.sequences) - set(plan)):
        logger.warning("%s: %s not scored: %s", results.folder, counted(len(extra), "folder"), few(extra))


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[str, list[ObjectScores] | str]]:
    """Sequence and its scores, or what is wrong with it, as they are done."""
    if workers < 2:
        for job in jobs:
            yield job.sequence.name, _score(job)
        return
    # the long ones first, so that all workers end at about the same time
    order = sorted(jobs, key=lambda job: sum(map(len, job.frames.values())), reverse=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        futures = {pool.submit(_score, job): job.sequence.name for job in order}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is this process's parent's matter
    cv2.setNumThreads(1)


def _score(job: _Job) -> list[ObjectScores] | str:
    """The scores of a sequence; what is wrong comes back as text, for an error would lose where it was raised."""
    sequence, known = job.sequence, job.sequence.objects
    values: dict[int, list[np.ndarray]] = {}
    frames: dict[int, list[str]] = {}
    try:
        for frame, scored in job.frames.items():
            truth, prediction = sequence.read_labels(frame), job.results.read_labels(sequence.name, frame)
            rows = score_frame(truth, prediction, scored, known, job.results.file(sequence.name, frame))
            for number, row in zip(scored, rows):
                values.setdefault(number, []).append(row)
                frames.setdefault(number, []).append(frame)
    except (ValueError, OSError) as error:
        return str(error)
    return [
        ObjectScores(sequence.name, number, tuple(frames[number]), np.array(values[number]), sequence.seen.get(number))
        for number in sorted(values)
    ]
