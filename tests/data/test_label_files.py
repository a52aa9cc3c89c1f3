"""Depth maps and masks on disk."""

import builtins

import cv2
import numpy as np
import pytest
from PIL import Image

from pe_dense.data import DataError
from pe_dense.data.label_files import decode_depth, decode_labels

METRES = np.array([[0, 1.25, 2], [3.5, 60, 0.001]], dtype=np.float32)
INDICES = np.array([[0, 1, 2], [3, 254, 255]], dtype=np.uint8)


def test_16_bit_png(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.round(METRES * 1000).astype(np.uint16))
    np.testing.assert_allclose(decode_depth(tmp_path / "a.png"), METRES, rtol=1e-6)
    np.testing.assert_allclose(decode_depth(tmp_path / "a.png", 500), METRES * 2, rtol=1e-6)
    assert decode_depth(tmp_path / "a.png").dtype == np.float32


def test_kitti_png_is_exact(tmp_path):
    values = np.array([[0, 1, 65535, 256]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(decode_depth(tmp_path / "a.png", 256), values.astype(np.float32) / 256)


@pytest.mark.parametrize(
    ("values", "scale"),
    [(METRES, None), (METRES.astype(np.float64), None), (METRES.astype(np.float16), None), (METRES * 10, 10.0),
     (np.round(METRES[..., None] * 1000).astype(np.int32), None)],
)  # fmt: skip
def test_npy(tmp_path, values, scale):
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_allclose(decode_depth(tmp_path / "a.npy", scale), METRES, rtol=2e-3)


def _write_exr(path, channels):
    exr = pytest.importorskip("OpenEXR", reason="EXR files need the OpenEXR library")
    with exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, channels) as file:
        file.write(str(path))


@pytest.mark.parametrize("name", ["Z", "Y", "RGB", "depth"])
def test_exr(tmp_path, name):
    _write_exr(tmp_path / "a.exr", {name: np.stack([METRES] * 3, axis=-1) if name == "RGB" else METRES})
    np.testing.assert_array_equal(decode_depth(tmp_path / "a.exr"), METRES)


def test_coloured_exr_is_refused(tmp_path):
    _write_exr(tmp_path / "a.exr", {"RGB": np.stack([METRES, METRES + 1, METRES], axis=-1)})
    with pytest.raises(DataError, match=r"a\.exr has the shape \(2, 3, 3\)"):
        decode_depth(tmp_path / "a.exr")


def test_exr_without_its_library(tmp_path, monkeypatch):
    (tmp_path / "a.exr").write_bytes(b"x")
    normal = builtins.__import__

    def refuse(name, *rest):
        if name == "OpenEXR":
            raise ImportError(name)
        return normal(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"a\.exr needs the OpenEXR library: pip install OpenEXR"):
        decode_depth(tmp_path / "a.exr")


def test_damaged_exr(tmp_path):
    pytest.importorskip("OpenEXR", reason="EXR files need the OpenEXR library")
    (tmp_path / "a.exr").write_bytes(b"x")
    with pytest.raises(DataError, match=r"depth map .*a\.exr cannot be decoded \(1 bytes"):
        decode_depth(tmp_path / "a.exr")


def test_8_bits_are_too_few(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), INDICES)
    with pytest.raises(DataError, match=r"depth map .*a\.png has only 8 bits per pixel, .*16-bit PNG"):
        decode_depth(tmp_path / "a.png")


def test_coloured_depth_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    with pytest.raises(DataError, match=r"not one number per pixel"):
        decode_depth(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.tiff"])
@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for decode, what in ((decode_depth, "depth map"), (decode_labels, "mask")):
        with pytest.raises(DataError, match=rf"^{what} .*{name} cannot be decoded \({len(content)} bytes"):
            decode(tmp_path / name)


def test_missing_files(tmp_path):
    for decode, what in ((decode_depth, "depth map"), (decode_labels, "mask")):
        with pytest.raises(FileNotFoundError, match=rf"^{what} .*a\.png does not exist"):
            decode(tmp_path / "a.png")


def test_palette_masks_give_indices(tmp_path):
    image = Image.new("P", (3, 2))
    image.putdata(INDICES.ravel().tolist())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_labels(tmp_path / "a.png"), INDICES)


def test_small_palettes_are_stored_with_fewer_bits(tmp_path):
    image = Image.new("P", (3, 1))
    image.putdata(INDICES[0].tolist())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", bits=2)
    np.testing.assert_array_equal(decode_labels(tmp_path / "a.png"), INDICES[:1])


def test_1_bit_masks_are_0_and_1(tmp_path):
    Image.fromarray(np.array([[0, 255, 255]], dtype=np.uint8)).convert("1").save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_labels(tmp_path / "a.png"), [[0, 1, 1]])


def test_grey_stored_as_rgb(tmp_path):
    for channels in (3, 4):
        cv2.imwrite(str(tmp_path / "a.png"), np.repeat(INDICES[..., None], channels, axis=2))
        np.testing.assert_array_equal(decode_labels(tmp_path / "a.png"), INDICES)


def test_coloured_masks_keep_their_colours(tmp_path):
    colors = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    cv2.imwrite(str(tmp_path / "a.png"), colors[..., ::-1])
    np.testing.assert_array_equal(decode_labels(tmp_path / "a.png"), colors)


def test_masks_of_floats_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", METRES)
    with pytest.raises(
        DataError, match=r"mask .*a\.npy has the shape \(2, 3\) and type float32; store one class index"
    ):
        decode_labels(tmp_path / "a.npy")
