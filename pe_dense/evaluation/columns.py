"""Fields of many json rows as arrays: fast when all is well, precise about the first row when not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np

Row = Mapping[str, Any]
Name = Callable[[int], str]  # what to call row i in an error message


def int_column(rows: Sequence[Row], key: str, name: Name) -> np.ndarray:
    """N int64 of an integer field.

    Raises:
        ValueError: naming the first row that lacks the field or has something else in it.
    """
    if not rows:
        return np.zeros(0, dtype=np.int64)
    try:
        values = np.array(list(map(itemgetter(key), rows)))
    except (KeyError, TypeError, ValueError, IndexError):
        _fail(rows, key, name, "an integer", _is_int)
    if values.dtype.kind != "i" or values.ndim != 1:
        _fail(rows, key, name, "an integer", _is_int)
    return values.astype(np.int64, copy=False)


def float_column(rows: Sequence[Row], key: str, name: Name) -> np.ndarray:
    """N float64 of a field that is a finite number.

    Raises:
        ValueError: naming the first row that lacks the field or has something else in it.
    """
    try:
        values = np.array(list(map(itemgetter(key), rows)))
    except (KeyError, TypeError, ValueError, IndexError):
        _fail(rows, key, name, "a finite number", _is_finite)
    if values.dtype.kind not in "if" or values.ndim != 1 or not np.isfinite(values).all():
        _fail(rows, key, name, "a finite number", _is_finite)
    return values.astype(np.float64, copy=False)


def box_column(rows: Sequence[Row], key: str, name: Name) -> np.ndarray:
    """N x 4 float64 of a field with four finite numbers.

    Raises:
        ValueError: naming the first row that lacks the field or has something else in it.
    """
    try:
        column = list(map(itemgetter(key), rows))
        whole = set(map(len, column)) == {4}
        values = np.fromiter(chain.from_iterable(column), dtype=np.float64, count=4 * len(rows) if whole else -1)
    except (KeyError, TypeError, ValueError, IndexError):
        _fail(rows, key, name, "4 finite numbers", _is_box)
    if not whole or not np.isfinite(values).all():
        _fail(rows, key, name, "4 finite numbers", _is_box)
    return values.reshape(-1, 4)


def positions(values: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where values are in an ascending array.

    Returns:
        (N int64 positions, indices of the values that are not in ``ids``, whose positions mean nothing).
    """
    if not len(ids):
        return np.zeros(len(values), dtype=np.int64), np.arange(len(values))
    index = np.searchsorted(ids, values).clip(max=len(ids) - 1)
    return index, np.flatnonzero(ids[index] != values)


def _fail(rows: Sequence[Row], key: str, name: Name, valid: str, is_valid: Callable[[Any], bool]) -> NoReturn:
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or key not in row:
            raise ValueError(f"{name(index)} has no '{key}'")
        if not is_valid(row[key]):
            raise ValueError(f"{name(index)} has {key} {row[key]!r}, which is not {valid}")
    raise ValueError(f"{name(0)} and others: '{key}' must be {valid}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _is_box(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 4 and all(map(_is_finite, value))
