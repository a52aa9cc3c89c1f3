import json
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import from_numpy
from torchvision.ops import box_iou as torchvision_iou

from pe_dense.modeling.tracking.association.assignment import assign
from pe_dense.modeling.tracking.association.overlap import box_iou


def padded(cost: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """The definition: leaving a row or a column alone costs half the limit."""
    n, m = cost.shape
    whole = np.zeros((n + m, n + m))
    whole[:n, :m], whole[:n, m:], whole[n:, :m] = cost, limit / 2, limit / 2
    rows, columns = linear_sum_assignment(whole)
    return [(int(r), int(c)) for r, c in zip(rows, columns) if r < n and c < m]


def pairs(cost: np.ndarray, limit: float) -> list[tuple[int, int]]:
    return [(int(r), int(c)) for r, c in zip(*assign(cost, limit))]


def test_cost_limit_of_lap(fixtures: Path) -> None:
    units = json.loads((fixtures / "mot_trackers" / "params_and_units.json").read_text())
    for name in ("lap_cost_limit", "lap_cost_limit_2", "lap_cost_limit_3"):
        case = units[name]
        assert pairs(np.array(case["cost"]), case["thresh"]) == [tuple(p) for p in case["matches"]]


def test_equals_the_padded_matrix() -> None:
    rng = np.random.default_rng(0)
    contested = 0
    for _ in range(500):
        shape = rng.integers(0, 12, 2)
        cost = rng.random(shape) ** rng.uniform(0.3, 3)
        limit = rng.uniform(0.05, 1.2)
        found = pairs(cost, limit)
        assert found == padded(cost, limit)
        contested += len(found) < (cost < limit).sum()
    assert contested > 200


def test_forbidden_pairs() -> None:
    cost = np.array([[np.inf, 0.2], [np.nan, 0.1]])
    assert pairs(cost, 0.9) == [(1, 1)]
    assert pairs(np.full((3, 2), np.inf), 0.9) == []


def test_iou() -> None:
    rng = np.random.default_rng(1)
    first, second = (np.sort(rng.uniform(0, 50, (n, 2, 2)), axis=1).reshape(n, 4) for n in (40, 30))
    expected = torchvision_iou(from_numpy(first), from_numpy(second)).numpy()
    np.testing.assert_allclose(box_iou(first, second), expected, atol=1e-12)
    assert (expected > 0).any()
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0
    assert box_iou(np.zeros((0, 4)), second).shape == (0, 30)
