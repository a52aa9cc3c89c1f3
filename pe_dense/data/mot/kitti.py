"""KITTI's tracking text: labels (``label_02/0000.txt``) and results, a row an object, separated by blanks.

Columns: frame (from 0), id, type, truncation, occlusion, alpha, left, top, right, bottom, three sizes in metres, three
coordinates in metres, rotation and, in results, the score. Only the 2D part is kept.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.data.mot.columns import RowChecks, read_bytes
from pe_dense.structures import Tracks

KITTI_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person", "Cyclist", "Tram", "Misc", "DontCare")
"""Names of the classes 1 to 9; ``Person`` sits."""

_NUMBERS = {name.lower(): number for number, name in enumerate(KITTI_CLASSES, start=1)} | {"person_sitting": 5}
_FEWEST = 10
_SCORE = 17
_NO_3D = "-1 -1 -1 -1000 -1000 -1000 -10"


def read_kitti_tracks(path: str | os.PathLike[str], what: str = "ground truth") -> Tracks:
    """Labels or results; regions of the type DontCare have the id -1 and count as ``ignored``.

    Rows with a negative id of any other type are left out, as the benchmark does.

    Args:
        path: the file; an empty one has no object.
        what: what it holds, for messages.

    Returns:
        Rows by frame; ``classes`` are the places in :data:`KITTI_CLASSES`, from 1.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a line is wrong.
    """
    text = read_bytes(path, what).decode("utf-8", errors="replace")
    rows = [(number, cells) for number, line in enumerate(text.splitlines(), 1) if (cells := line.split())]
    if not rows:
        return Tracks.empty()
    lines = np.array([number for number, _ in rows])
    checks = RowChecks(path, what, lines)
    lengths = np.array([len(cells) for _, cells in rows])
    checks.refuse(
        lengths < _FEWEST, lambda r: f"has {lengths[r]} columns, not KITTI's 17 (results: 18); check the format"
    )
    types = [cells[2].lower() for _, cells in rows]
    checks.refuse(
        np.array([t not in _NUMBERS for t in types]),
        lambda r: f"unknown type {rows[r][1][2]!r}; KITTI has {', '.join(KITTI_CLASSES)}",
    )
    numbers = np.array([_numbers(cells, path, what, line) for line, cells in rows])
    frames = checks.whole_numbers("frame", numbers[:, 0], 0)
    checks.refuse(~np.isfinite(numbers).all(axis=1), lambda _: "has a value that is not finite; remove the line")
    checks.boxes(numbers[:, 4:8])
    classes = np.array([_NUMBERS[t] for t in types])
    dont_care = classes == _NUMBERS["dontcare"]
    ids = np.where(dont_care, -1, checks.whole_numbers("id", numbers[:, 1], -(2**40)))
    # the benchmark compares the ids of one class only
    checks.distinct(frames * len(KITTI_CLASSES) + classes - 1, ids, lambda key: key // len(KITTI_CLASSES))
    tracks = Tracks.create(
        frames, numbers[:, 4:8], ids, scores=numbers[:, 8], classes=classes, ignored=dont_care,
        truncation=numbers[:, 2], occlusion=numbers[:, 3],
    )  # fmt: skip
    return tracks[dont_care | (ids >= 0)].sorted()


def _numbers(cells: list[str], path: str | os.PathLike[str], what: str, line: int) -> list[float]:
    """Frame, id, truncation, occlusion, four corners, score."""
    wanted = [cells[0], cells[1], *cells[3:5], *cells[6:10], cells[_SCORE] if len(cells) > _SCORE else "1"]
    try:
        return [float(cell) for cell in wanted]
    except ValueError as error:
        raise DataError(f"{what} {path}, line {line}: {error}; repair the line") from None


def write_kitti_results(path: str | os.PathLike[str], tracks: Tracks) -> None:
    """Write results with 18 columns; the 3D ones get KITTI's values for "unknown".

    Raises:
        ValueError: if an object has no id, or a class that KITTI does not have.
    """
    if (tracks.ids < 0).any():
        raise ValueError(f"{path}: results need an id for every box, but {tracks!r} has boxes without")
    if len(tracks) and not 1 <= tracks.classes.min() <= tracks.classes.max() <= len(KITTI_CLASSES):
        raise ValueError(f"{path}: classes must be 1 to {len(KITTI_CLASSES)}, the places in KITTI_CLASSES")
    part = tracks[np.lexsort((tracks.ids, tracks.frames))]
    keys = zip(part.frames.tolist(), part.ids.tolist(), part.classes.tolist())
    rows = (
        f"{frame} {track} {KITTI_CLASSES[kind - 1]} -1 -1 -10 {x0:.3f} {y0:.3f} {x1:.3f} {y1:.3f} {_NO_3D} {s:.6g}\n"
        for (frame, track, kind), (x0, y0, x1, y1), s in zip(keys, part.boxes.tolist(), part.scores.tolist())
    )
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(rows), encoding="ascii")
