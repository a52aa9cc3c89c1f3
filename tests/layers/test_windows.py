import numpy as np
import pytest
import torch

from pe_dense.layers.windows import WindowOrder


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 4), (5, 7, 4), (3, 9, 3), (2, 3, 4)])
def test_round_trip_and_grouping(height, width, side):
    grid = torch.randn(2, height, width, 3)
    order = WindowOrder(height, width, side)
    tokens = order.to_windows(grid)
    torch.testing.assert_close(order.to_grid(tokens), grid)
    first = tokens[:, : side * side].view(2, side, side, 3)
    torch.testing.assert_close(first[:, : min(height, side), : min(width, side)], grid[:, :side, :side])
    assert int(order.valid().sum()) == height * width
    assert tokens[:, ~order.valid().flatten()].abs().sum() == 0


def test_matches_released_partition(fixtures):
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    grid, expected = torch.from_numpy(data["win.in"]), torch.from_numpy(data["win.out"])
    tokens = WindowOrder(grid.shape[1], grid.shape[2], 4).to_windows(grid)
    torch.testing.assert_close(tokens.view(-1, 4, 4, grid.shape[-1]), expected)
