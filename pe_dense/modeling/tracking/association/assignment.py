"""Which track gets which detection."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def assign(cost: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of least total cost, where leaving a row and a column without partner costs ``limit``.

    That is what ``lap.lapjv`` with ``cost_limit`` does, and not the same as the cheapest full assignment from which
    pairs above the limit are then dropped. The sum over pairs of cost - limit is minimised over the pairs where it is
    negative; a pair that competes with no other is taken without solving anything.

    Args:
        cost: N x M; infinity and NaN are never assigned.
        limit: pairs at or above it are not made.

    Returns:
        rows (ascending) and columns of the pairs, int64.
    """
    rows, columns = np.nonzero(cost < limit)
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return rows, columns
    contested = ~alone
    some_rows, r = np.unique(rows[contested], return_inverse=True)
    some_columns, c = np.unique(columns[contested], return_inverse=True)
    gain = np.zeros((len(some_rows), len(some_columns)))
    gain[r, c] = cost[rows[contested], columns[contested]] - limit
    r, c = linear_sum_assignment(gain)
    real = gain[r, c] < 0
    rows = np.concatenate([rows[alone], some_rows[r[real]]])
    columns = np.concatenate([columns[alone], some_columns[c[real]]])
    order = np.argsort(rows)
    return rows[order], columns[order]
