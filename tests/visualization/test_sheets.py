"""Contact sheets."""

import cv2
import numpy as np
import pytest
import torch

from pe_dense.visualization import contact_sheet, save_image, side_by_side


def plain(height, width, value=200):
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_pictures_of_all_shapes_keep_their_shape(tmp_path):
    images = [plain(100, 50), plain(30, 300), torch.full((3, 64, 64), 200, dtype=torch.uint8), plain(1, 1)]
    sheet = contact_sheet(images, ["a"] * 4, columns=4, cell=(100, 100), path=tmp_path / "new" / "sheet.png")
    saved = cv2.imread(str(tmp_path / "new" / "sheet.png"))[..., ::-1]
    assert np.array_equal(sheet, saved)
    bright = (sheet == 200).all(axis=2).any(axis=0)
    starts = np.flatnonzero(np.diff(np.concatenate([[0], bright.astype(int), [0]]))).reshape(-1, 2)
    assert [b - a for a, b in starts] == [50, 100, 100, 100]


def test_rows_are_as_high_as_their_pictures():
    wide = contact_sheet([plain(50, 100)] * 4, columns=2, cell=100)
    mixed = contact_sheet([plain(50, 100)] * 3 + [plain(100, 100)], columns=2, cell=100)
    assert mixed.shape[0] == wide.shape[0] + 50


def test_sheets_are_well_filled():
    for count in range(1, 20):
        height, width = contact_sheet([plain(48, 64)] * count, cell=64).shape[:2]
        assert count == 1 or 0.45 < width / height < 4.5


def test_side_by_side_has_one_height():
    pair = side_by_side(plain(100, 80), plain(50, 40), titles=None)
    assert pair.shape == (100, 166, 3)


def test_errors():
    with pytest.raises(ValueError, match="no images"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 images but 2 titles"):
        contact_sheet([plain(4, 4)], ["a", "b"])
    with pytest.raises(ValueError, match=r"x\.txt.*use \.png or \.jpg"):
        save_image("x.txt", plain(4, 4))
