"""A part to train on and a part to validate on."""

import cv2
import numpy as np
import pytest

from pe_dense.data import DataError, DepthList, training_share, validation_share


@pytest.fixture
def pictures(tmp_path):
    def make(name, count):
        for folder in ("rgb", "d"):
            (tmp_path / name / folder).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(tmp_path / name / f"rgb/{i}.png"), np.zeros((4, 4, 3), dtype=np.uint8))
            cv2.imwrite(str(tmp_path / name / f"d/{i}.png"), np.full((4, 4), 1000 + i, dtype=np.uint16))
        return DepthList(tmp_path / name / "rgb", tmp_path / name / "d")

    return make


def _names(dataset):
    return [dataset.file_name(i) for i in range(len(dataset))]


def test_one_set_is_split(pictures, caplog):
    caplog.set_level("INFO", "pe_dense")
    data = pictures("a", 10)
    train, val = training_share(data, data), validation_share(data, data)
    assert [record.message for record in caplog.records] == ["8 images to train, 2 to validate"]
    assert (len(train), len(val)) == (8, 2)
    assert sorted(_names(train) + _names(val)) == sorted(_names(data))
    assert _names(validation_share(data, data)) == _names(val)
    assert len({tuple(_names(validation_share(data, data, 0.2, seed))) for seed in range(5)}) > 1
    item = val[1]
    assert item["image_id"] == 1
    np.testing.assert_array_equal(item["depth"], val.read_depth(1))


def test_two_sets_stay_whole_and_do_not_overlap(pictures):
    train, val = pictures("a", 4), pictures("b", 3)
    assert _names(training_share(train, val)) == _names(train)
    assert validation_share(train, val) is val
    some = train.select([1, 2])
    assert validation_share(train, some) is some
    assert _names(training_share(train, some)) == [train.file_name(0), train.file_name(3)]


@pytest.mark.parametrize("fraction", [0.0, 0.01, 1.0])
def test_empty_parts(pictures, fraction):
    data = pictures("a", 4)
    with pytest.raises(DataError, match=f"data.val_fraction {fraction} of 4 images would leave one part empty"):
        training_share(data, data, fraction)


def test_everything_held_out(pictures):
    data = pictures("a", 4)
    with pytest.raises(DataError, match="all 2 images are held out for validation"):
        training_share(data.select([0, 1]), data)
