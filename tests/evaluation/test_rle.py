"""Pixel totals of compressed run lengths."""

import numpy as np
import pytest

from pe_dense.evaluation.rle import rle_fault, rle_pixels, rles_sound
from pe_dense.structures.masks import encode_rle


def random_rles(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 300, (40, 2))
    return [encode_rle(rng.random(size) < rng.random() ** 3) for size in sizes], sizes


@pytest.mark.parametrize("seed", range(3))
def test_totals_of_sound_masks(seed):
    rles, sizes = random_rles(seed)
    assert rle_pixels([r["counts"].encode() for r in rles]).tolist() == sizes.prod(axis=1).tolist()
    assert rles_sound(rles, sizes)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_truncation_is_found(cut):
    rle = encode_rle(np.pad(np.ones((200, 300)), 100))
    broken = {**rle, "counts": rle["counts"][:-cut]}
    assert rle_fault(rle, (400, 500)) is None
    assert rle_fault(broken, (400, 500)) is not None
    sizes = np.array([[400, 500]] * 2)
    assert rles_sound([rle, rle], sizes)
    assert not rles_sound([rle, broken], sizes)


def test_nothing():
    assert rle_pixels([]).shape == (0,)
    assert rle_pixels([b""]).tolist() == [0]
