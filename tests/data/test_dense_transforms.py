"""Augmentations of the depth and segmentation recipes."""

import cv2
import numpy as np
import pytest

from pe_dense.data import (
    Crop,
    DataError,
    FixedSizeCrop,
    GammaJitter,
    PhotometricDistortion,
    RandomRotation,
    RandomScale,
    ResizeShortestEdge,
)
from pe_dense.data.geometry import View
from pe_dense.data.transforms import apply_transforms


def _rng(seed=0):
    return np.random.default_rng(seed)


def _views(step, height, width, count=200):
    return [step.view(View.whole(height, width), _rng(i)) for i in range(count)]


def test_fixed_window():
    (view,) = _views(Crop(45, 43, 427, 565), 480, 640, 1)
    assert (view.top, view.bottom, view.left, view.right, view.size) == (45, 472, 43, 608, (427, 565))


def test_fixed_window_of_a_small_image():
    with pytest.raises(DataError, match=r"it is 320 x 240 where the transforms cut out rows 45:472 and columns 43:608"):
        Crop(45, 43, 427, 565).view(View.whole(240, 320), _rng())


def test_random_scale_follows_a_resize():
    views = [RandomScale(0.5, 2.0).view(ResizeShortestEdge(512, 2048).view(View.whole(300, 400), _rng()), _rng(i))
             for i in range(300)]  # fmt: skip
    heights = np.array([v.size[0] for v in views])
    assert heights.min() < 280
    assert heights.max() > 1000
    assert all(abs(v.size[1] / v.size[0] - 683 / 512) < 0.01 for v in views)


def test_crop_has_its_size_and_reaches_everywhere():
    views = _views(FixedSizeCrop((40, 60)), 100, 200)
    assert {v.output_size for v in views} == {(40, 60)}
    assert {v.top for v in views} >= {0, 60}
    assert min(v.left for v in views) < 5
    assert max(v.right for v in views) > 195


def test_crop_of_a_smaller_image():
    assert {v.output_size for v in _views(FixedSizeCrop(64), 30, 100)} == {(30, 64)}
    assert {v.output_size for v in _views(FixedSizeCrop(64, pad=True), 30, 100)} == {(64, 64)}


def test_crop_avoids_windows_of_one_class():
    labels = np.zeros((100, 400), dtype=np.uint8)
    labels[:, 180:220] = 1
    labels[:, :100] = 255  # ignored pixels do not count

    def share(ratio):
        step = FixedSizeCrop(50, cat_max_ratio=ratio)
        views = [step.view_by_labels(View.whole(100, 400), _rng(i), labels) for i in range(200)]
        return np.mean([0 < (v.labels(labels, 255) == 1).mean() < 1 for v in views])

    assert share(1.0) < 0.3
    assert share(0.75) > 0.7


def test_crop_gives_up_where_there_is_one_class_only():
    view = FixedSizeCrop(8, 0.5).view_by_labels(View.whole(20, 20), _rng(), np.zeros((20, 20), dtype=np.uint8))
    assert view.output_size == (8, 8)


def test_crop_looks_at_the_labels_in_a_chain():
    labels = np.zeros((60, 300), dtype=np.uint8)
    labels[:, 150:] = 1
    image = np.repeat(labels[..., None] * 255, 3, axis=2)
    found = []
    for seed in range(50):
        chain = [RandomScale(1, 2), FixedSizeCrop(40, 0.9)]
        shown, view = apply_transforms(image, chain, _rng(seed), labels)
        classes = view.labels(labels, 255)
        assert np.abs(shown[..., 0] / 255 - classes).max() <= 0.51
        found.append(0 < classes.mean() < 1)
    assert np.mean(found) > 0.4  # one in ten without looking


def test_rotation_angles():
    angles = [v.rotation.degrees if v.rotation else 0 for v in _views(RandomRotation(2.5, 0.5), 20, 20, 400)]
    assert 0.4 < np.mean(np.array(angles) == 0) < 0.6
    assert min(angles) < -2.3
    assert max(angles) > 2.3
    assert max(map(abs, angles)) <= 2.5


def test_gamma_jitter_is_its_formula():
    image = _rng().integers(0, 256, (20, 30, 3), dtype=np.uint8)
    step = GammaJitter(1.0, (0.9, 1.1), (0.75, 1.25), (0.9, 1.1))
    for seed in range(5):
        draws = _rng(seed)
        gamma, brightness, color = draws.uniform(0.9, 1.1), draws.uniform(0.75, 1.25), draws.uniform(0.9, 1.1, size=3)
        expected = np.clip((image / 255) ** gamma * brightness * color * 255, 0, 255)
        assert np.abs(step.pixels(image, _rng(seed)) - expected).max() <= 0.51
    np.testing.assert_array_equal(GammaJitter(0.0).pixels(image, _rng()), image)
    changed = [not np.array_equal(GammaJitter(0.5).pixels(image, _rng(i)), image) for i in range(100)]
    assert 30 < sum(changed) < 70


def test_photometric_distortion_in_parts():
    image = _rng().integers(0, 256, (20, 30, 3), dtype=np.uint8)

    def outcomes(step):
        return [step.pixels(image, _rng(i)).astype(int) for i in range(60)]

    still = {"brightness": 0, "contrast": (1, 1), "saturation": (1, 1), "hue": 0}
    for result in outcomes(PhotometricDistortion(**{**still, "brightness": 32})):
        shift = np.median(result - image)
        assert np.abs(result - np.clip(image + shift, 0, 255)).max() <= 6  # HSV and back costs a little
        assert abs(shift) <= 32
    results = outcomes(PhotometricDistortion(**{**still, "contrast": (0.5, 0.9)}))
    factors = [np.median(r[image > 20] / image[image > 20]) for r in results]
    assert {round(f, 1) for f in factors} >= {0.5, 0.9, 1.0}
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(int)
    turned = PhotometricDistortion(**{**still, "hue": 18})
    strong = (hsv[..., 1] > 60) & (hsv[..., 2] > 60)
    shifts = []
    for i in range(60):
        moved = cv2.cvtColor(turned.pixels(image, _rng(i)), cv2.COLOR_RGB2HSV).astype(int)
        shifts.append(np.median(((moved - hsv)[..., 0][strong] + 90) % 180 - 90))
    assert min(shifts) < -12
    assert max(shifts) > 12
    assert max(map(abs, shifts)) <= 18.5


def test_photometric_distortion_changes_most_images():
    image = _rng().integers(0, 256, (8, 8, 3), dtype=np.uint8)
    same = sum(np.array_equal(PhotometricDistortion().pixels(image, _rng(i)), image) for i in range(100))
    assert same < 20
    np.testing.assert_array_equal(
        PhotometricDistortion().pixels(image, _rng(3)), PhotometricDistortion().pixels(image, _rng(3))
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda: Crop(-1, 0, 5, 5),
        lambda: RandomScale(0, 1),
        lambda: FixedSizeCrop(0),
        lambda: FixedSizeCrop(8, 0),
        lambda: RandomRotation(-1),
        lambda: RandomRotation(1, 2),
        lambda: GammaJitter(gamma=(0, 1)),
        lambda: PhotometricDistortion(hue=100),
        lambda: PhotometricDistortion(contrast=(2, 1)),
    ],
)
def test_bad_settings_are_refused(build):
    with pytest.raises(ValueError, match=r"^\w+\(\w+="):
        build()
