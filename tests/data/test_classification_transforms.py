"""Crops of the classification protocols."""

import numpy as np
import pytest

from pe_dense.data import CenterCrop, RandomResizedCrop
from pe_dense.data.geometry import View
from pe_dense.data.transforms import apply_transforms


def test_center_crop() -> None:
    image = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)
    shown, _ = apply_transforms(image, [CenterCrop(5)], np.random.default_rng(0))
    np.testing.assert_array_equal(shown, image[1:6, 2:7])
    assert apply_transforms(image, [CenterCrop(8)], np.random.default_rng(0))[0].shape == (7, 8, 3)
    with pytest.raises(ValueError, match="size must be positive"):
        CenterCrop(0)


def test_random_resized_crop() -> None:
    rng = np.random.default_rng(0)
    views = [RandomResizedCrop(32).view(View.whole(400, 600), rng) for _ in range(300)]
    assert {view.size for view in views} == {(32, 32)}
    sides = np.array([(v.bottom - v.top, v.right - v.left) for v in views])
    share = sides.prod(1) / (400 * 600)
    aspect = sides[:, 1] / sides[:, 0]
    assert 0.078 < share.min() < 0.12
    assert 0.8 < share.max() <= 1
    assert 0.73 < aspect.min() < 0.8
    assert 1.25 < aspect.max() < 1.36
    long = RandomResizedCrop(8, area=(1, 1)).view(View.whole(10, 100), rng)  # nothing fits
    assert (long.left, long.right, long.top, long.bottom) == (43, 56, 0, 10)
    with pytest.raises(ValueError, match="size must be positive"):
        RandomResizedCrop(8, area=(0.0, 1.0))
