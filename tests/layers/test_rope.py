import math

import numpy as np
import pytest
import torch

from pe_dense.layers.rope import apply_rope, rope_table


def reference_rotation(x, height, width, reference=None, offset=0):
    """Token by token and pair by pair, from the definition."""
    out = x.clone()
    dim = x.shape[-1]
    for token in range(height * width):
        row, column = divmod(token, width)
        if reference:
            row, column = row * reference / height, column * reference / width
        for pair in range(dim // 2):
            axis, k = (column, pair) if pair < dim // 4 else (row, pair - dim // 4)
            angle = (axis + offset) * 10000 ** (-2 * k / (dim / 2))
            a, b = x[:, token, ..., 2 * pair], x[:, token, ..., 2 * pair + 1]
            out[:, token, ..., 2 * pair] = a * math.cos(angle) - b * math.sin(angle)
            out[:, token, ..., 2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
    return out


@pytest.mark.parametrize(("reference", "offset"), [(None, 0), (None, 1), (8, 0)])
def test_rotation_matches_definition(reference, offset):
    x = torch.randn(2, 15, 2, 3, 8, dtype=torch.float64).float()
    table = rope_table(3, 5, 8, reference, offset)
    torch.testing.assert_close(apply_rope(x, table), reference_rotation(x, 3, 5, reference, offset))


def test_compiled_form_equals_eager(monkeypatch):
    x, table = torch.randn(2, 12, 2, 3, 8), rope_table(3, 4, 8)
    eager = apply_rope(x, table)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(apply_rope(x, table), eager)


def test_keeps_dtype_and_rotates_in_float32():
    x, table = torch.randn(1, 12, 8), rope_table(3, 4, 8)
    low = x.bfloat16()
    assert apply_rope(low, table).dtype == torch.bfloat16
    torch.testing.assert_close(apply_rope(low, table), apply_rope(low.float(), table).bfloat16())


@pytest.mark.parametrize("key", ["rope.16.None", "rope.16.24", "rope.16.64", "rope.32.32", "rope.32.64"])
def test_released_tables(fixtures, key):
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    _, reference, side = key.split(".")
    side = int(reference) if side == "None" else int(side)
    stored = torch.from_numpy(data[f"{key}.cos_first_last"])
    table = rope_table(side, side, stored.shape[1], int(reference), offset=1)
    rows = [0, 1, side, side * side - 1]
    torch.testing.assert_close(table[rows, :, 0].repeat_interleave(2, -1), stored, atol=2e-6, rtol=0)


def test_head_dim_must_be_divisible_by_four():
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        rope_table(2, 2, 6)
