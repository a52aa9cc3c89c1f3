"""Error maps, and maps with holes at another size."""

import numpy as np
import pytest
import torch

from pe_dense.visualization import depth_error_to_rgb, sem_seg_error_to_rgb
from pe_dense.visualization.dense_errors import UNLABELLED, WRONG, fit_map
from pe_dense.visualization.legends import color_table


def test_relative_error_by_hand():
    truth = torch.tensor([[2.0, 2.0, 2.0, 0.0, 4.0]])
    prediction = torch.tensor([[2.0, 2.25, 1.5, 9.0, float("nan")]])
    table = color_table("YlOrRd")
    picture = depth_error_to_rgb(prediction, truth, legend=False)
    assert np.array_equal(picture[0], [table[0], table[128], table[255], (0, 0, 0), (0, 0, 0)])
    assert np.array_equal(depth_error_to_rgb(prediction, truth, limit=50, legend=False)[0, 2], table[128])
    assert depth_error_to_rgb(np.ones((60, 80)), np.ones((60, 80))).shape[1] > 80


def test_signed_error_is_red_too_near_and_blue_too_far():
    truth = np.full((1, 3), 5.0)
    near, right, far = depth_error_to_rgb([[4.0, 5.0, 6.0]], truth, "signed", legend=False)[0].astype(int)
    assert near[0] > near[2] + 30
    assert far[2] > far[0] + 30
    assert right.min() > 235
    assert not depth_error_to_rgb(truth, truth * 0, "signed", legend=False).any()


def test_wrong_labels_are_red():
    image = np.full((2, 2, 3), (200, 100, 0), dtype=np.uint8)
    picture = sem_seg_error_to_rgb(image, np.array([[0, 1], [1, 1]]), torch.tensor([[0, 0], [255, 1]])).astype(int)
    assert picture[0, 0].tolist() == picture[1, 1].tolist() == [100, 100, 100]
    assert np.abs(picture[0, 1] - WRONG).max() < 60
    assert np.abs(picture[1, 0] - UNLABELLED).max() < 20


def test_refusals():
    with pytest.raises(ValueError, match=r"prediction is \(2, 3\) but the ground truth \(3, 2\)"):
        depth_error_to_rgb(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="must be 'abs_rel' or 'signed', not 'rmse'"):
        depth_error_to_rgb(np.ones((2, 3)), np.ones((2, 3)), "rmse")
    with pytest.raises(ValueError, match=r"the image is \(2, 3\), the prediction \(2, 2\)"):
        sem_seg_error_to_rgb(np.zeros((2, 3, 3), dtype=np.uint8), np.zeros((2, 2)), np.zeros((2, 2)))


def test_single_points_stay_visible_in_a_small_picture():
    values = np.zeros((400, 800), dtype=np.float32)
    points = [(10, 30), (200, 400), (390, 799)]
    for k, (row, column) in enumerate(points):
        values[row, column] = k + 1
    small, known = fit_map(values, values > 0, 100, 50)
    assert small.shape == known.shape == (50, 100)
    for k, (row, column) in enumerate(points):
        assert small[row // 8, column // 8] == k + 1
        assert known[row // 8, column // 8]
    assert known.sum() < 60
    assert set(np.unique(small[known])) == {1, 2, 3}  # no mixed values


def test_sizes_that_stay_and_grow():
    values = np.arange(12).reshape(3, 4)
    same, known = fit_map(values, values != 5, 4, 3)
    assert np.array_equal(same, values)
    assert np.array_equal(known, values != 5)
    grown, _ = fit_map(values, np.ones((3, 4), dtype=bool), 8, 6)
    assert np.array_equal(grown, values.repeat(2, 0).repeat(2, 1))
    assert not fit_map(values, np.zeros((3, 4), dtype=bool), 2, 2)[1].any()
