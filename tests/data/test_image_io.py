"""Reading image files of every kind."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pe_dense.data import DataError, read_image


@pytest.fixture
def picture():
    """24 x 16 RGB ramp without symmetry."""
    y, x = np.mgrid[:16, :24]
    return np.stack([x * 10, y * 15, (x + y) * 6], axis=2).astype(np.uint8)


def test_rgb(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.is_contiguous()
    np.testing.assert_array_equal(image.permute(1, 2, 0), picture)


def test_greyscale(picture, tmp_path):
    Image.fromarray(picture[..., 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.broadcast_to(picture[..., 0], (3, 16, 24)))


def test_alpha_is_dropped(picture, tmp_path):
    alpha = np.random.default_rng(0).integers(0, 256, (16, 24, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([picture, alpha], axis=2)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_is_scaled(picture, tmp_path, channels):
    deep = picture[..., :channels].astype(np.uint16) * 256 + 77
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    expected = np.broadcast_to(picture[..., :channels], picture.shape)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0), expected)


def test_palette(picture, tmp_path):
    paletted = Image.fromarray(picture).quantize(16)
    paletted.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0), np.array(paletted.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(picture, tmp_path, orientation):
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    turns = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture),
    }
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0), turns[orientation])


def test_exif_orientation_of_jpeg(picture, tmp_path):
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "a.jpg").shape == (3, 24, 16)


@pytest.mark.parametrize("shape", [(1, 1), (3, 20_000)])
def test_extreme_sizes(tmp_path, shape):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((*shape, 3), 200, dtype=np.uint8))
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (3, *shape)
    assert (image.float() - 200).abs().max() <= 2


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated(picture, tmp_path, suffix):
    data = cv2.imencode(suffix, np.tile(picture, (20, 20, 1)))[1].tobytes()
    path = tmp_path / f"a{suffix}"
    for size in (len(data) // 2, len(data) - 20, 10, 0):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=rf"{path} cannot be decoded \({size:,} bytes: truncated"):
            read_image(path)


def test_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>404 Not Found</html>")
    with pytest.raises(DataError, match=r"a\.jpg cannot be decoded .*leave it out"):
        read_image(tmp_path / "a.jpg")


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg does not exist; check the path$"):
        read_image(tmp_path / "a.jpg")
