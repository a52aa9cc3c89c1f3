"""Masks as indexed PNGs."""

import numpy as np
import pytest
from PIL import Image

from pe_dense.data import DataError
from pe_dense.prediction.mask_files import read_masks, write_masks


def test_round_trip(tmp_path):
    labels = np.array([[0, 1, 2], [7, 254, 0]], np.int32)
    write_masks(tmp_path / "new" / "a.png", labels)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert np.array_equal(read_masks(tmp_path / "new" / "a.png"), labels)
    with pytest.raises(ValueError, match="ids up to 255, not 256"):
        write_masks(tmp_path / "b.png", labels + 2)


def test_void(tmp_path):
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "void.png")
    Image.fromarray(np.array([[0, 0, 255]], np.uint8)).save(tmp_path / "one.png")
    assert read_masks(tmp_path / "void.png").tolist() == [[0, 1, 0]]
    assert read_masks(tmp_path / "one.png").tolist() == [[0, 0, 255]]


def test_bad_files(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "rgb.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    with pytest.raises(DataError, match="picture of mode RGB; write an indexed"):
        read_masks(tmp_path / "rgb.png")
    with pytest.raises(DataError, match="cannot be decoded"):
        read_masks(tmp_path / "bad.png")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_masks(tmp_path / "none.png")
