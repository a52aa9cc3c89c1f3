"""Augmentations."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from pe_dense.data import (
    ColorJitter,
    FixedSizeCrop,
    LargeScaleJitter,
    RandomChoice,
    RandomCrop,
    RandomFlip,
    ResizeShortestEdge,
    transform_image,
)
from pe_dense.data.geometry import View
from pe_dense.data.transforms import apply_transforms


def _rng(seed=0):
    return np.random.default_rng(seed)


def _views(step, height, width, count=200):
    return [step.view(View.whole(height, width), _rng(i)) for i in range(count)]


def test_flip_probability():
    assert not any(v.mirrored for v in _views(RandomFlip(0), 4, 4))
    assert all(v.mirrored for v in _views(RandomFlip(1), 4, 4))
    assert 70 < sum(v.mirrored for v in _views(RandomFlip(), 4, 4)) < 130


def test_large_scale_jitter_covers_its_range():
    views = _views(LargeScaleJitter(256, 0.1, 2.0), 480, 640, 400)
    assert all(max(v.size) <= 256 for v in views)
    scales = np.array([v.scale[1] for v in views]) / (256 / 640)
    assert scales.min() < 0.15
    assert scales.max() > 1.95
    assert 0.95 < scales.mean() < 1.15
    for view in views:  # the aspect stays, up to the rounding to whole pixels
        sides = [*view.size, view.bottom - view.top, view.right - view.left]
        assert abs(np.log(view.scale[0] / view.scale[1])) < sum(0.55 / side for side in sides)
    whole = [v for v, s in zip(views, scales) if s < 0.99]
    assert all((v.top, v.left, v.bottom, v.right) == (0, 0, 480, 640) for v in whole)


def test_large_scale_jitter_offsets():
    both = _views(LargeScaleJitter(256, 2.0, 2.0), 300, 300)
    ends = np.array([[v.top, v.left] for v in both]) / 150
    assert abs(np.corrcoef(ends.T)[0, 1]) < 0.3
    assert ends.min() < 0.05
    assert ends.max() > 0.95
    shared = _views(LargeScaleJitter(256, 2.0, 2.0, shared_offset=True), 300, 300)
    assert all(v.top == v.left for v in shared)


def test_large_scale_jitter_pads_on_request():
    assert {v.output_size for v in _views(LargeScaleJitter(64, pad=True), 30, 50)} == {(64, 64)}
    assert {v.output_size for v in _views(LargeScaleJitter((32, 64), 2.0, 2.0), 30, 50)} == {(32, 64)}


def test_random_choice():
    """Each chain as often as the others, and all of its steps."""
    choice = RandomChoice([[ResizeShortestEdge(20)], [ResizeShortestEdge(40), RandomCrop(10, 10)], []])
    sizes = [v.size for v in _views(choice, 60, 90, 300)]
    assert set(sizes) == {(20, 30), (10, 10), (60, 90)}
    assert all(70 < sizes.count(size) < 130 for size in set(sizes))
    with pytest.raises(ValueError, match="chains is empty"):
        RandomChoice([])
    for step in (ColorJitter(0.1), FixedSizeCrop(3, cat_max_ratio=0.5)):
        with pytest.raises(ValueError, match=f"{type(step).__name__} does more than move and scale"):
            RandomChoice([[RandomFlip()], [step]])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (20_000, 3)])
def test_extreme_images_survive(size):
    chain = [RandomFlip(), LargeScaleJitter(64), RandomCrop(5, 20), ResizeShortestEdge(32, 64)]
    for seed in range(20):
        image, view = apply_transforms(np.zeros((*size, 3), dtype=np.uint8), chain, _rng(seed))
        assert image.shape[:2] == view.output_size
        assert min(image.shape) >= 1


def test_resize_shortest_edge():
    (view,) = _views(ResizeShortestEdge(800, 1333), 480, 640, 1)
    assert view.size == (800, 1067)
    (view,) = _views(ResizeShortestEdge(800, 1000), 480, 640, 1)
    assert view.size == (750, 1000)
    (view,) = _views(ResizeShortestEdge(1024, 1024), 333, 500, 1)
    assert view.size == (682, 1024)
    assert {v.size[0] for v in _views(ResizeShortestEdge([20, 30, 40]), 50, 60)} == {20, 30, 40}


def test_random_crop():
    sizes = np.array([v.size for v in _views(RandomCrop(20, 40), 30, 100)])
    assert sizes[:, 0].min() == 20
    assert sizes[:, 0].max() == 30
    assert sizes[:, 1].min() < 23
    assert sizes[:, 1].max() == 40


@pytest.mark.parametrize(
    ("name", "torchvision"),
    [("brightness", tv.adjust_brightness), ("contrast", tv.adjust_contrast), ("saturation", tv.adjust_saturation)],
)
def test_color_jitter_has_torchvisions_meaning(name, torchvision):
    image = _rng().integers(60, 140, (40, 50, 3), dtype=np.uint8)
    for seed in range(5):
        found = ColorJitter(**{name: 0.4}).pixels(image, _rng(seed))
        draws = _rng(seed)
        factors = [
            draws.uniform(1 - s, 1 + s) for s in (0.4 * (name == n) for n in ("brightness", "contrast", "saturation"))
        ]
        factor = factors[("brightness", "contrast", "saturation").index(name)]
        expected = torchvision(torch.from_numpy(image).permute(2, 0, 1), factor).permute(1, 2, 0).numpy()
        assert np.abs(found.astype(int) - expected).max() <= 2


def test_color_jitter_turns_the_hue():
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = 200
    results = {tuple(int(c) // 64 for c in ColorJitter(hue=0.5).pixels(red, _rng(i))[0, 0]) for i in range(60)}
    assert len(results) > 8
    unchanged = ColorJitter().pixels(red, _rng())
    np.testing.assert_array_equal(unchanged, red)


def test_transform_image():
    image = torch.from_numpy(_rng().integers(0, 255, (3, 40, 60), dtype=np.uint8))
    assert transform_image(image, [ResizeShortestEdge(20)]).shape == (3, 20, 30)
    assert torch.equal(transform_image(image, []), image)
    chain = [LargeScaleJitter(32), ColorJitter(0.5)]
    assert torch.equal(transform_image(image, chain, seed=3), transform_image(image, chain, seed=3))
    with pytest.raises(TypeError, match="uint8 RGB"):
        transform_image(image.float(), [])


@pytest.mark.parametrize(
    "build",
    [
        lambda: RandomFlip(2),
        lambda: LargeScaleJitter(0),
        lambda: LargeScaleJitter(64, 0.0, 1.0),
        lambda: LargeScaleJitter(64, 2.0, 1.0),
        lambda: ResizeShortestEdge([]),
        lambda: ResizeShortestEdge(32, 0),
        lambda: RandomCrop(9, 8),
        lambda: ColorJitter(hue=0.6),
    ],
)
def test_bad_settings_are_refused(build):
    with pytest.raises(ValueError, match=r"(RandomFlip|LargeScaleJitter|ResizeShortestEdge|RandomCrop|ColorJitter)\("):
        build()
