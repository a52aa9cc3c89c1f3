import json
from pathlib import Path

import numpy as np
import pytest

from pe_dense.modeling.tracking.association.kalman import (
    AreaFilter,
    AspectFilter,
    BoxFilter,
    SizeFilter,
    warp_boxes,
    warp_scale,
)

FILTERS = (AspectFilter, SizeFilter, AreaFilter)
BOXES = np.array([[10.0, 20, 50, 100], [200, 100, 260, 130], [0, 0, 5, 9]])


def box_of(xyah: list[float]) -> np.ndarray:
    x, y, aspect, height = xyah
    return np.array([[x - aspect * height / 2, y - height / 2, x + aspect * height / 2, y + height / 2]])


def test_published_xyah_filter(fixtures: Path) -> None:
    oracle = json.loads((fixtures / "mot_trackers" / "params_and_units.json").read_text())["kalman_xyah"]
    kalman = AspectFilter()
    # other tracks in the same arrays must not matter
    mean, covariance = kalman.initiate(np.concatenate([BOXES, box_of(oracle["init"])]))
    assert any("z" not in step for step in oracle["steps"])
    for step in oracle["steps"]:
        mean, covariance = kalman.predict(mean, covariance)
        np.testing.assert_allclose(mean[-1], step["pred_mean"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.diag(covariance[-1]), step["pred_cov_diag"], rtol=1e-9)
        if "z" in step:
            seen = box_of(step["z"])
            distance = kalman.distance(mean[-1:], covariance[-1:], seen)
            assert distance[0, 0] == pytest.approx(step["gating_maha"], rel=1e-9)
            mean, covariance = kalman.update(mean, covariance, np.concatenate([BOXES, seen]))
            np.testing.assert_allclose(mean[-1], step["mean"], rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(np.diag(covariance[-1]), step["cov_diag"], rtol=1e-9)


@pytest.mark.parametrize("kind", FILTERS)
def test_update_equals_the_textbook(kind: type[BoxFilter]) -> None:
    kalman, rng = kind(), np.random.default_rng(0)
    warp = np.array([[0.99, -0.05, 3], [0.05, 0.99, -2]])  # couples x and y in the covariance
    mean, covariance = kalman.warp(*kalman.predict(*kalman.initiate(BOXES)), warp)
    seen = warp_boxes(BOXES, warp) + rng.normal(0, 1, BOXES.shape)
    new_mean, new_covariance = kalman.update(mean, covariance, seen)
    pick = np.eye(4, 8)
    for i in range(len(BOXES)):
        noise = np.diag(kalman._measurement_std(mean)[i] ** 2)
        gain = covariance[i] @ pick.T @ np.linalg.inv(pick @ covariance[i] @ pick.T + noise)
        expected = mean[i] + gain @ (kalman.measure(seen)[i] - mean[i, :4])
        np.testing.assert_allclose(new_mean[i], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(new_covariance[i], (np.eye(8) - gain @ pick) @ covariance[i], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", FILTERS)
def test_predict_equals_the_textbook(kind: type[BoxFilter]) -> None:
    kalman = kind()
    mean, covariance = kalman.update(*kalman.initiate(BOXES), BOXES + 3)
    moved, spread = kalman.predict(mean, covariance)
    transition = np.eye(8) + np.eye(8, k=4)
    np.testing.assert_allclose(moved, mean @ transition.T)
    noise = kalman._process_std(mean)[:, :, None] ** 2 * np.eye(8)
    np.testing.assert_allclose(spread, transition @ covariance @ transition.T + noise)


@pytest.mark.parametrize("kind", FILTERS)
def test_boxes_survive_the_state(kind: type[BoxFilter]) -> None:
    kalman = kind()
    np.testing.assert_allclose(kalman.boxes(kalman.initiate(BOXES)[0]), BOXES)


@pytest.mark.parametrize("kind", FILTERS)
def test_warp_moves_the_box_and_its_velocity(kind: type[BoxFilter]) -> None:
    kalman = kind()
    mean, covariance = kalman.initiate(BOXES)
    mean[:, 4:6] = (2, 1)
    turn = np.array([[0.0, -2, 5], [2, 0, 7]])  # by 90 degrees, twice as large
    warped, _ = kalman.warp(mean, covariance, turn)
    np.testing.assert_allclose(kalman.boxes(warped), warp_boxes(BOXES, turn))
    np.testing.assert_allclose(warped[:, 4:6], [[-2, 4]] * 3)
    assert warp_scale(turn) == pytest.approx(2)
    assert (warp_boxes(BOXES, turn)[:, 2:] > warp_boxes(BOXES, turn)[:, :2]).all()


def test_a_shrinking_area_stays_positive() -> None:
    kalman = AreaFilter()
    mean, covariance = kalman.initiate(BOXES)
    mean[:, 6] = -2 * mean[:, 2]
    for _ in range(3):
        mean, covariance = kalman.predict(mean, covariance)
    np.testing.assert_allclose(kalman.boxes(mean), BOXES)


def test_arrays_given_are_not_changed() -> None:
    for kind in FILTERS:
        kalman = kind()
        mean, covariance = kalman.initiate(BOXES)
        before = mean.copy(), covariance.copy()
        kalman.predict(mean, covariance)
        kalman.update(mean, covariance, BOXES + 1)
        kalman.hold_size(mean)
        np.testing.assert_array_equal(mean, before[0])
        np.testing.assert_array_equal(covariance, before[1])
