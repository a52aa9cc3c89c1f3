"""Counts and scores of semantic segmentation against independent values."""

import json

import numpy as np
import pytest
from dense_cases import boundary_of_mask, label_case

from pe_dense.evaluation.segmentation import (
    IGNORE,
    boundary_counts,
    confusion_matrix,
    ious,
    mean_of_present,
    near_boundary,
)


@pytest.fixture(scope="module")
def expected(fixtures):
    return json.loads((fixtures / "segmentation" / "expected.json").read_text())


def test_hand_case(expected):
    case = expected["hand"]
    matrix = confusion_matrix(np.array(case["gt"]), np.array(case["pred"]), case["num_classes"])
    assert matrix.diagonal().tolist() == case["intersect"]
    assert matrix.sum(axis=0).tolist() == case["pred_area"]
    assert matrix.sum(axis=1).tolist() == case["label_area"]
    values = ious(matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0))
    np.testing.assert_allclose(values, [np.nan if v is None else v for v in case["iou"]], atol=1e-6)
    assert mean_of_present(values) == pytest.approx(case["mIoU_nanmean"], abs=1e-6)
    assert np.isnan(mean_of_present(np.full(2, np.nan)))


def test_labels_that_are_no_class():
    truth, prediction = np.array([[0, 1], [IGNORE, 1]]), np.array([[0, 1], [9, 1]])
    assert confusion_matrix(truth, prediction, 2).sum() == 3  # on ignored pixels it does not matter
    with pytest.raises(ValueError, match="the ground truth has label 1 but the classes are 0 to 0"):
        confusion_matrix(truth, np.zeros((2, 2)), 1)
    with pytest.raises(ValueError, match="the prediction has label -1"):
        confusion_matrix(truth, np.full((2, 2), -1), 2)


@pytest.mark.parametrize("ratio", [0.001, 0.02, 0.1, 2.0])
def test_bands_of_all_classes_at_once_equal_those_of_each_mask(ratio):
    for truth, prediction in zip(*label_case(count=3)):
        counts = boundary_counts(truth, prediction, 5, ratio)
        distance = max(1, round(ratio * float(np.hypot(*truth.shape))))
        hidden = np.where(truth == IGNORE, IGNORE, prediction)
        for label in range(5):
            bands = [boundary_of_mask(labels == label, distance) for labels in (truth, hidden)]
            wanted = [(bands[0] & bands[1]).sum(), bands[0].sum(), bands[1].sum()]
            assert counts[:, label].tolist() == wanted


def test_band_by_hand():
    labels = np.zeros((7, 7), dtype=np.int64)
    labels[:, 4:] = 200
    near = near_boundary(labels, 1)
    assert near[3].tolist() == [True, False, False, True, True, False, True]
    assert near[0].all()
