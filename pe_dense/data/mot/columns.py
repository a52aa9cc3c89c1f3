"""Text files with a row of numbers a line, quickly, with errors that name the line."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pe_dense.data.errors import DataError


def read_bytes(path: str | os.PathLike[str], what: str) -> bytes:
    """A file's content.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{what} {file} does not exist; check the path")
    return file.read_bytes()


def read_numbers(path: str | os.PathLike[str], what: str, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of a comma- or blank-separated file; blank lines and a comma at the end of a line are skipped.

    Args:
        path: the file.
        what: what the file holds, for messages ("ground truth").
        fewest: columns that there must be.

    Returns:
        R x C float64, which may contain NaN and infinite values, and the R line numbers from 1. An empty file has
        R = 0 and C = ``fewest``.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if something is no number, or lines differ in their number of columns, or have too few.
    """
    text = read_bytes(path, what).removeprefix(b"\xef\xbb\xbf")
    rows = _fast_rows(text)
    numbers = np.arange(1, len(rows) + 1) if rows is not None else None
    if rows is None or numbers is None:
        rows, numbers = _careful_rows(text, Path(path), what)
    if not len(rows):
        return np.zeros((0, fewest)), np.zeros(0, dtype=np.int64)
    if rows.shape[1] < fewest:
        raise DataError(
            f"{what} {path}, line {numbers[0]}: has {rows.shape[1]} columns, but at least {fewest} are needed; "
            "check that the file is of this kind"
        )
    return rows, numbers


def _fast_rows(text: bytes) -> np.ndarray | None:
    """R x C float64 of a file without faults or blank lines, otherwise ``None``."""
    lines = text.rstrip()
    if not lines:
        return None
    try:
        rows = np.loadtxt(io.BytesIO(lines), delimiter="," if b"," in lines else None, comments=None, ndmin=2)
    except ValueError:
        return None
    return rows if len(rows) == lines.count(b"\n") + 1 else None


def _careful_rows(text: bytes, path: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, raw in enumerate(text.decode("utf-8", errors="replace").splitlines(), start=1):
        line = raw.strip().removesuffix(",")
        if not line:
            continue
        cells = line.split(",") if "," in line else line.split()
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            wrong = next(c for c in cells if not _is_number(c))
            raise DataError(
                f"{what} {path}, line {number}: {wrong.strip()!r} is not a number; repair the line"
            ) from None
        numbers.append(number)
        if len(cells) != len(rows[0]):
            raise DataError(
                f"{what} {path}, line {number}: has {len(cells)} columns, but line {numbers[0]} has {len(rows[0])}; "
                "the file may be cut off: write it again"
            )
    return np.array(rows, dtype=np.float64), np.array(numbers, dtype=np.int64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class RowChecks:
    """Refuses rows of a file, naming the first one that is wrong.

    Args:
        path: the file.
        what: what it holds, for messages.
        lines: line number of each row.
    """

    def __init__(self, path: str | os.PathLike[str], what: str, lines: np.ndarray) -> None:
        self.path, self.what, self.lines = path, what, lines

    def refuse(self, wrong: np.ndarray, message: Callable[[int], str]) -> None:
        """Raise a :class:`DataError` with ``message(row)`` for the first row marked in the R bool ``wrong``."""
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{self.what} {self.path}, line {self.lines[row]}: {message(row)}")

    def whole_numbers(self, name: str, values: np.ndarray, least: int) -> np.ndarray:
        """R int64; refuses NaN, fractions and what is below ``least``."""
        sound = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        self.refuse(~sound, lambda r: f"{name} {values[r]:g} is not a whole number; repair the line")
        self.refuse(values < least, lambda r: f"{name} {values[r]:.0f} is below {least}, the first one")
        return values.astype(np.int64)

    def boxes(self, boxes: np.ndarray) -> None:
        """Refuses R x 4 XYXY boxes that are not finite or of negative size; of zero size is allowed."""
        self.refuse(~np.isfinite(boxes).all(axis=1), lambda r: f"the box {_listed(boxes[r])} is not finite; remove it")
        sizes = boxes[:, 2:] - boxes[:, :2]
        self.refuse((sizes < 0).any(axis=1), lambda r: f"the box has the negative size {_listed(sizes[r])}; remove it")

    def distinct(self, frames: np.ndarray, ids: np.ndarray, number: Callable[[int], int]) -> None:
        """Refuses an id that occurs twice in a frame.

        Args:
            frames: R int64 from 0.
            ids: R int64; negative ones are not compared.
            number: how the file counts a frame, for the message.
        """
        order = np.lexsort((ids, frames))
        same = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0) & (ids[order][1:] >= 0)
        if same.any():
            at = int(np.argmax(same))
            first, second = sorted((order[at], order[at + 1]))
            raise DataError(
                f"{self.what} {self.path}, lines {self.lines[first]} and {self.lines[second]}: id {ids[first]} occurs "
                f"twice in frame {number(int(frames[first]))}; an object has one row a frame"
            )


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{v:g}" for v in values)
