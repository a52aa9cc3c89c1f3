"""Depth metrics, crops and alignment against independent values."""

import json

import numpy as np
import pytest

from pe_dense.evaluation.depth import (
    CROPS,
    apply_alignment,
    crop_window,
    depth_metrics,
    fit_alignment,
    kb_window,
    place_prediction,
)


@pytest.fixture(scope="module")
def expected(fixtures):
    return json.loads((fixtures / "depth" / "expected.json").read_text())


def test_metrics_equal_official_and_hand_values(expected):
    case = expected["four_pixels"]
    metrics = depth_metrics(np.array(case["pred"]), np.array(case["gt"]))
    names = {"a1": "delta1", "a2": "delta2", "a3": "delta3", "log_10": "log10"}
    for source in ("adabins", "by_hand"):
        for name, value in case[source].items():
            assert metrics[names.get(name, name)] == pytest.approx(value, rel=1e-6), name


def test_metrics_of_a_perfect_prediction_and_of_none():
    metrics = depth_metrics(np.full(4, 2.0, dtype=np.float32), np.full(4, 2.0, dtype=np.float32))
    assert [metrics[f"delta{n}"] for n in (1, 2, 3)] == [1, 1, 1]
    assert all(metrics[n] == 0 for n in ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"))
    with pytest.raises(ValueError, match="no pixel to compare"):
        depth_metrics(np.zeros(0), np.zeros(0))


def test_crops_equal_the_benchmarks(expected):
    crops = expected["crops"]
    assert crop_window("eigen_nyu", 480, 640) == tuple(crops["nyu_eigen_480x640"])
    top, bottom, left, right = crop_window("eigen_nyu", 480, 640)
    assert (bottom - top) * (right - left) == crops["nyu_eigen_pixels"]
    assert crop_window("garg", 352, 1216) == tuple(crops["kitti_garg_352x1216"])
    assert crop_window("garg", 375, 1242) == tuple(crops["kitti_garg_375x1242"])
    assert crop_window("eigen_kitti", 375, 1242) == tuple(crops["kitti_eigen_375x1242"])
    kb = crops["kb_crop_375x1242"]
    assert kb_window(375, 1242) == (kb["top"], 375, kb["left"], kb["left"] + kb["shape"][1])
    assert crop_window("kb", 375, 1242) == kb_window(375, 1242)
    inner = crops["kitti_garg_352x1216"]
    assert crop_window("kb_garg", 375, 1242) == (inner[0] + 23, inner[1] + 23, inner[2] + 13, inner[3] + 13)
    assert crop_window(None, 3, 4) == (0, 3, 0, 4)


def test_kitti_rows_and_columns_as_published():
    assert crop_window("garg", 352, 1216) == (143, 349, 43, 1172)
    assert crop_window("eigen_kitti", 375, 1242) == (124, 342, 44, 1197)


def test_crops_refuse_maps_of_other_sizes():
    with pytest.raises(ValueError, match='"eigen_nyu" is defined on 480 x 640 maps, not 240 x 320'):
        crop_window("eigen_nyu", 240, 320)
    for crop in (c for c in CROPS if c.startswith("kb")):
        with pytest.raises(ValueError, match="352 x 1216 pixels of a map, this one has 300 x 1242"):
            crop_window(crop, 300, 1242)


def test_a_prediction_of_the_kb_crop_is_put_in_its_place():
    values = np.arange(352 * 1216, dtype=np.float32).reshape(352, 1216)
    placed = place_prediction(values, 375, 1242)
    assert np.array_equal(placed[23:, 13:1229], values)
    assert np.isnan(placed[:23]).all()
    assert place_prediction(values, 352, 1216) is values
    with pytest.raises(ValueError, match=r"shape \(100, 200\) but the ground truth is 375 x 1242"):
        place_prediction(np.ones((100, 200)), 375, 1242)


def test_least_squares_equals_the_official_alignment(expected):
    case = expected["least_squares"]
    truth, prediction = (np.array(case[k], dtype=np.float32).reshape(2, 3) for k in ("gt", "pred"))
    valid = truth > 0
    fit = fit_alignment(prediction[valid], truth[valid], "least_squares")
    assert fit == pytest.approx((case["scale"], case["shift"]), rel=1e-5)  # the official one is in float32
    aligned = apply_alignment(prediction, fit, "least_squares", 1e-3, 100)
    np.testing.assert_allclose(aligned, np.array(case["aligned"]).reshape(2, 3), rtol=1e-5)


def test_alignments_undo_what_they_are_for():
    truth = np.random.default_rng(0).uniform(1, 9, 500)
    for alignment, prediction in (
        ("median", truth * 0.03),
        ("least_squares", truth * 3 - 40),
        ("least_squares_disparity", 7 / truth + 2),
    ):
        fit = fit_alignment(prediction, truth, alignment)
        np.testing.assert_allclose(apply_alignment(prediction, fit, alignment, 1e-3, 10), truth, rtol=1e-9)
        assert not np.allclose(prediction, truth)
    assert fit_alignment(truth * 2, truth, "metric") == (1, 0)


def test_values_that_are_not_finite_take_no_part_and_are_replaced():
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    prediction = np.array([2.0, 4.0, 6.0, np.nan, np.inf])
    for alignment in ("median", "least_squares"):
        fit = fit_alignment(prediction, truth, alignment)
        assert fit == pytest.approx((0.5, 0), abs=1e-12)
        aligned = apply_alignment(prediction, fit, alignment, 0.1, 10)
        np.testing.assert_allclose(aligned, [1, 2, 3, 0.1, 10])
    metric = apply_alignment(np.array([-np.inf, np.inf, np.nan, -3, 99]), (1, 0), "metric", 0.1, 10)
    assert metric.tolist() == [0.1, 10, 0.1, 0.1, 10]


@pytest.mark.parametrize("alignment", ["median", "least_squares", "least_squares_disparity"])
@pytest.mark.parametrize("prediction", [np.zeros(3), np.full(3, np.nan), np.full(3, 5.0), -np.ones(3)])
def test_useless_predictions_give_finite_depth(alignment, prediction):
    fit = fit_alignment(prediction, np.array([1.0, 2.0, 3.0]), alignment)
    aligned = apply_alignment(prediction, fit, alignment, 0.1, 10)
    assert np.isfinite(aligned).all()
    assert ((aligned >= 0.1) & (aligned <= 10)).all()
