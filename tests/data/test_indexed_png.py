"""Masks of objects as indexed PNGs."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pe_dense.data import DAVIS_PALETTE, DataError, read_indexed_png, read_object_ids, write_indexed_png
from pe_dense.data.indexed_png import read_foreground_png, read_palette


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 256, (31, 47))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.int32, np.uint16])
def test_what_is_written_is_read(tmp_path, labels, kind):
    write_indexed_png(tmp_path / "new" / "00000.png", labels.astype(kind))
    read = read_indexed_png(tmp_path / "new" / "00000.png")
    np.testing.assert_array_equal(read, labels)
    assert read.dtype == np.uint8
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["00000.png"]
    with Image.open(tmp_path / "new" / "00000.png") as image:
        assert (image.mode, image.format, image.size) == ("P", "PNG", (47, 31))
    np.testing.assert_array_equal(read_palette(tmp_path / "new" / "00000.png"), DAVIS_PALETTE)


def test_palette_is_that_of_davis(real_data, tmp_path):
    original = real_data / "davis2016_val" / "multi_object_bike" / "mask_00000.png"
    palette = read_palette(original)
    np.testing.assert_array_equal(palette[:22], DAVIS_PALETTE[:22])  # the objects that have a colour of their own
    assert DAVIS_PALETTE.shape == (256, 3)
    write_indexed_png(tmp_path / "copy.png", read_indexed_png(original), palette)
    np.testing.assert_array_equal(read_palette(tmp_path / "copy.png"), palette)
    np.testing.assert_array_equal(read_indexed_png(tmp_path / "copy.png"), read_indexed_png(original))
    assert set(np.unique(read_indexed_png(original))) == {0, 1, 2}


def test_greyscale_and_one_bit(tmp_path, labels):
    cv2.imwrite(str(tmp_path / "grey.png"), labels.astype(np.uint8))
    np.testing.assert_array_equal(read_indexed_png(tmp_path / "grey.png"), labels)
    assert read_palette(tmp_path / "grey.png") is None
    Image.fromarray(labels > 99).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_indexed_png(tmp_path / "bit.png"), labels > 99)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((4, 4), 256), "256 to 256 do not fit into 8 bits"),
        (np.full((4, 4), -1), "-1 to -1 do not fit"),
        (np.zeros((4, 4), np.float32), "must be H x W integers"),
        (np.zeros((1, 4, 4), np.uint8), "must be H x W integers"),
        (np.zeros((0, 4), np.uint8), "must be H x W integers"),
    ],
)
def test_what_cannot_be_written(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        write_indexed_png(tmp_path / "x.png", labels)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read(tmp_path, labels):
    file = tmp_path / "x.png"
    with pytest.raises(FileNotFoundError, match=r"x.png does not exist"):
        read_indexed_png(file)
    with pytest.raises(FileNotFoundError, match=r"x.png does not exist"):
        read_palette(file)
    cv2.imwrite(str(file), np.stack([labels] * 3, axis=-1).astype(np.uint8))
    with pytest.raises(DataError, match=r"x.png is a colour picture \(RGB\); write an indexed"):
        read_indexed_png(file)
    cv2.imwrite(str(file), labels.astype(np.uint16))
    with pytest.raises(DataError, match="more than 8 bits"):
        read_indexed_png(file)
    write_indexed_png(file, labels)
    file.write_bytes(file.read_bytes()[:200])
    for read in (read_indexed_png, read_foreground_png):
        with pytest.raises(DataError, match=r"x.png cannot be decoded"):
            read(file)


def test_foreground(tmp_path, labels):
    file, foreground = tmp_path / "x.png", labels > 128
    for values in (foreground * 255, foreground * 1):
        cv2.imwrite(str(file), values.astype(np.uint8))
        np.testing.assert_array_equal(read_foreground_png(file), foreground)
    write_indexed_png(file, labels)
    np.testing.assert_array_equal(read_foreground_png(file), labels > 0)
    cv2.imwrite(str(file), np.zeros((4, 4), np.uint8))
    assert not read_foreground_png(file).any()
    cv2.imwrite(str(file), labels.astype(np.uint8))
    with pytest.raises(DataError, match="a soft mask; cut it at one half"):
        read_foreground_png(file)
    cv2.imwrite(str(file), np.stack([labels, labels, labels * 0], axis=-1).astype(np.uint8))
    with pytest.raises(DataError, match="is a colour picture; write 0 for background"):
        read_foreground_png(file)


def test_void_beside_objects_and_alone(tmp_path):
    for labels, expected in (([[0, 1, 255]], [[0, 1, 0]]), ([[0, 0, 255]], [[0, 0, 255]])):
        write_indexed_png(tmp_path / "x.png", np.array(labels))
        assert read_object_ids(tmp_path / "x.png").tolist() == expected
