"""J and F of two masks: the official numbers, and a plain implementation."""

import json

import cv2
import numpy as np
import pytest

from pe_dense.evaluation.mask_measures import contour, contour_accuracy, contour_radius, region_similarity

EXACT = 1e-12


@pytest.fixture
def expected(fixtures):
    return json.loads((fixtures / "davis_jf" / "expected.json").read_text())


def test_frames_equal_the_official_code(fixtures, expected):
    arrays = np.load(fixtures / "davis_jf" / "frames.npz")
    cases = [name for name in expected["frames"] if f"{name}__void" not in arrays]
    assert len(cases) == 14
    for name in cases:
        truth, prediction = arrays[f"{name}__gt"] > 0, arrays[f"{name}__pred"] > 0
        case = expected["frames"][name]
        assert region_similarity(truth, prediction) == pytest.approx(case["J"], abs=EXACT), name
        assert contour_accuracy(truth, prediction) == pytest.approx(case["F"], abs=EXACT), name
        assert contour_radius(truth.shape) == case["bound_pix"], name
        assert contour(truth).sum() == case["n_gt_boundary"], name
        assert contour(prediction).sum() == case["n_pred_boundary"], name


def test_contours_equal_the_official_ones(fixtures):
    frames, maps = (np.load(fixtures / "davis_jf" / f"{name}.npz") for name in ("frames", "boundary_maps"))
    for name in maps:
        np.testing.assert_array_equal(contour(frames[f"{name}__gt"] > 0), maps[name] > 0, err_msg=name)


def test_radius(expected):
    for size, radius in expected["radius"].items():
        shape = tuple(map(int, size.split("x")))
        assert contour_radius(shape) == radius
    assert contour_radius((480, 854), 3) == 3


def test_random_masks_equal_dilation_with_a_disk():
    rng = np.random.default_rng(0)
    nontrivial = 0
    for _ in range(300):
        height, width = rng.integers(1, 70, 2)
        tolerance = rng.choice([1, 2, 3, 5, 9, 0.008, 0.1])
        truth, prediction = (_blobs(rng, height, width) for _ in range(2))
        if rng.random() < 0.3:
            prediction = np.roll(truth, rng.integers(-4, 5, 2), (0, 1))
        if rng.random() < 0.2:  # apart from each other
            truth[:, width // 3 :], prediction[:, : width - width // 3] = False, False
        value = contour_accuracy(truth, prediction, tolerance)
        assert value == pytest.approx(_plain(truth, prediction, contour_radius((height, width), tolerance)), abs=EXACT)
        nontrivial += 0 < value < 1
    assert nontrivial > 60


def test_a_mask_that_is_a_view_of_a_larger_array():
    rng = np.random.default_rng(1)
    truth, prediction = _blobs(rng, 60, 80)[5:50, 7:70], _blobs(rng, 60, 80)[5:50, 7:70]
    assert contour_accuracy(truth, prediction, 2) == contour_accuracy(truth.copy(), prediction.copy(), 2)


def _blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), float(rng.uniform(0.3, 6)))
    return noise > rng.uniform(-1, 2) * noise.std()


def _plain(truth: np.ndarray, prediction: np.ndarray, radius: int) -> float:
    """Both contours over the whole image, dilated with the whole disk."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    edges = [_plain_contour(mask).astype(np.uint8) for mask in (truth, prediction)]
    wide = [cv2.dilate(edge, disk) for edge in edges]
    totals = [edge.sum() for edge in edges]
    if not all(totals):
        return float(not any(totals))
    recall, precision = ((edges[k] & wide[1 - k]).sum() / totals[k] for k in (0, 1))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _plain_contour(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    result = np.zeros_like(mask)
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        here, there = mask[: height - dy, : width - dx], mask[dy:, dx:]
        result[: height - dy, : width - dx] |= here ^ there
    return result
