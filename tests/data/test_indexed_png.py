"""Masks of objects as indexed PNGs."""

import numpy as np
import pytest
from PIL import Image

from pe_dense.data import DataError, read_indexed_png, read_object_ids, write_indexed_png
from pe_dense.data.indexed_png import read_foreground_png, read_palette


def save(path, values, mode=np.uint8):
    Image.fromarray(np.array(values, mode)).save(path)
    return path


def test_round_trip(tmp_path):
    labels = np.array([[0, 1, 2], [7, 254, 0]], np.int32)
    write_indexed_png(tmp_path / "new" / "a.png", labels)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.mode == "P"
    palette = read_palette(tmp_path / "new" / "a.png")
    assert palette is not None
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert np.array_equal(read_indexed_png(tmp_path / "new" / "a.png"), labels)
    assert read_palette(save(tmp_path / "grey.png", [[1]])) is None


def test_palette_is_that_of_davis(real_data):
    sample = next((real_data / "davis2016_val" / "results" / "osvos").rglob("*.png"))
    theirs = read_palette(sample)
    assert theirs is not None
    assert len(theirs) >= 2
    labels = read_indexed_png(sample)
    assert labels.any()


@pytest.mark.parametrize("labels", [np.array([[256]]), np.array([[-1]])])
def test_numbers_that_do_not_fit(tmp_path, labels):
    with pytest.raises(ValueError, match="do not fit into 8 bits"):
        write_indexed_png(tmp_path / "a.png", labels)
    assert not list(tmp_path.iterdir())


def test_labels_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match="must be H x W integers"):
        write_indexed_png(tmp_path / "a.png", np.zeros((2, 2), np.float32))


def test_void_beside_objects_and_alone(tmp_path):
    assert read_object_ids(save(tmp_path / "void.png", [[0, 1, 255]])).tolist() == [[0, 1, 0]]
    assert read_object_ids(save(tmp_path / "one.png", [[0, 0, 255]])).tolist() == [[0, 0, 255]]


def test_foreground(tmp_path):
    assert read_foreground_png(save(tmp_path / "255.png", [[0, 255]])).tolist() == [[0, 1]]
    write_indexed_png(tmp_path / "objects.png", np.array([[0, 1, 2]]))
    assert read_foreground_png(tmp_path / "objects.png").tolist() == [[0, 1, 1]]
    with pytest.raises(DataError, match="a soft mask"):
        read_foreground_png(save(tmp_path / "soft.png", [[0, 100, 200]]))


def test_bad_files(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "rgb.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    with pytest.raises(DataError, match="is a colour picture"):
        read_indexed_png(tmp_path / "rgb.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read_indexed_png(save(tmp_path / "deep.png", [[300]], np.uint16))
    with pytest.raises(DataError, match="cannot be decoded"):
        read_indexed_png(tmp_path / "bad.png")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_indexed_png(tmp_path / "none.png")
