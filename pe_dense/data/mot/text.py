"""MOTChallenge's text: ground truth, detections and results (also of DanceTrack and SportsMOT).

One row an object: ``frame, id, left, top, width, height, confidence, class or x, visibility or y, z``. Frames count
from 1 (:class:`Tracks` from 0). Pixels count from 1 too, but coordinates stay as they are in the file, as all trackers
and TrackEval leave them. Rows may come in any order and frames may be missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pe_dense.data.mot.columns import RowChecks, read_numbers
from pe_dense.structures import Tracks

MOT_CLASSES = (
    "pedestrian",
    "person on vehicle",
    "car",
    "bicycle",
    "motorbike",
    "non-motorised vehicle",
    "static person",
    "distractor",
    "occluder",
    "occluder on ground",
    "occluder full",
    "reflection",
    "crowd",
)
"""Names of the classes 1 to 13."""


def read_mot_ground_truth(path: str | os.PathLike[str]) -> Tracks:
    """``gt/gt.txt``: the seventh column 0 marks what is not evaluated, then class and visibility.

    MOT15's files have -1 or coordinates of the world in the place of the class: ``classes`` is then whatever they say.

    Returns:
        Rows by frame; scores are 1.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a line is wrong (no number, NaN, negative size, frame before 1, an id twice in a frame).
    """
    numbers, tracks = _read(path, "ground truth", fewest=7)
    count = numbers.shape[1]
    classes = np.nan_to_num(numbers[:, 7]) if count > 7 else np.ones(len(numbers))
    visibility = numbers[:, 8] if count > 8 else np.ones(len(numbers))
    return Tracks.create(
        tracks.frames, tracks.boxes, tracks.ids, classes=classes, ignored=numbers[:, 6].astype(np.int64) == 0,
        visibility=visibility,
    ).sorted()  # fmt: skip


def read_mot_detections(path: str | os.PathLike[str]) -> Tracks:
    """``det/det.txt``: boxes with scores, without ids (the id column, -1, is not looked at).

    Returns:
        Rows by frame.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a line is wrong.
    """
    numbers, tracks = _read(path, "detections", fewest=7, identified=False)
    return Tracks.create(tracks.frames, tracks.boxes, scores=numbers[:, 6]).sorted()


def read_mot_results(path: str | os.PathLike[str]) -> Tracks:
    """What a tracker wrote; an empty file is a tracker that found nothing.

    The score (column 7) may be missing and is then 1; the columns after it are not looked at.

    Returns:
        Rows by frame.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a line is wrong, or has no id.
    """
    numbers, tracks = _read(path, "results", fewest=6)
    scores = numbers[:, 6] if numbers.shape[1] > 6 else None
    return Tracks.create(tracks.frames, tracks.boxes, tracks.ids, scores=scores).sorted()


def _read(path: str | os.PathLike[str], what: str, fewest: int, identified: bool = True) -> tuple[np.ndarray, Tracks]:
    numbers, lines = read_numbers(path, what, fewest)
    checks = RowChecks(path, what, lines)
    frames = checks.whole_numbers("frame", numbers[:, 0], 1) - 1
    boxes = numbers[:, 2:6].copy()
    checks.refuse(
        (boxes[:, 2:] < 0).any(axis=1),
        lambda r: f"the box has the negative size {boxes[r, 2]:g} x {boxes[r, 3]:g}; remove it",
    )
    boxes[:, 2:] += boxes[:, :2]
    checks.boxes(boxes)
    if numbers.shape[1] > 6:
        checks.refuse(~np.isfinite(numbers[:, 6]), lambda r: f"the confidence {numbers[r, 6]:g} is not finite")
    if not identified:
        return numbers, Tracks.create(frames, boxes)
    checks.refuse(
        numbers[:, 1] == -1, lambda _: "has no track id (-1); these are detections: give the result of a tracker"
    )
    ids = checks.whole_numbers("id", numbers[:, 1], 0)
    checks.distinct(frames, ids, lambda frame: frame + 1)
    return numbers, Tracks.create(frames, boxes, ids)


def write_mot_results(path: str | os.PathLike[str], tracks: Tracks) -> None:
    """Write a results file: ten columns, boxes to 1/1000 pixel, the last three -1 (see :func:`read_mot_results`).

    Raises:
        ValueError: if an object has no id.
    """
    if (tracks.ids < 0).any():
        raise ValueError(f"{path}: results need an id for every box, but {tracks!r} has boxes without")
    _write(path, tracks, tracks.ids)


def write_mot_detections(path: str | os.PathLike[str], tracks: Tracks) -> None:
    """Write a ``det.txt``: as results, with -1 in the place of the id."""
    _write(path, tracks, np.full(len(tracks), -1))


def _write(path: str | os.PathLike[str], tracks: Tracks, ids: np.ndarray) -> None:
    order = np.lexsort((ids, tracks.frames))
    sizes = tracks.boxes[:, 2:] - tracks.boxes[:, :2]
    table = np.concatenate([tracks.boxes[:, :2], sizes, tracks.scores[:, None]], axis=1)[order].tolist()
    keys = zip((tracks.frames[order] + 1).tolist(), ids[order].tolist())
    rows = (
        f"{f},{i},{x:.3f},{y:.3f},{w:.3f},{h:.3f},{s:.6g},-1,-1,-1\n" for (f, i), (x, y, w, h, s) in zip(keys, table)
    )
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(rows), encoding="ascii")


def write_mot_ground_truth(path: str | os.PathLike[str], tracks: Tracks) -> None:
    """Write a ``gt.txt``: nine columns with flag, class and visibility."""
    order = np.lexsort((tracks.frames, tracks.ids))
    part = tracks[order]
    sizes = part.boxes[:, 2:] - part.boxes[:, :2]
    boxes = np.concatenate([part.boxes[:, :2], sizes], axis=1).tolist()
    keys = zip((part.frames + 1).tolist(), part.ids.tolist(), (~part.ignored).tolist(), part.classes.tolist())
    rows = (
        f"{f},{i},{x:.10g},{y:.10g},{w:.10g},{h:.10g},{int(valid)},{c},{v:.5g}\n"
        for (f, i, valid, c), (x, y, w, h), v in zip(keys, boxes, part.visibility.tolist())
    )
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(rows), encoding="ascii")
