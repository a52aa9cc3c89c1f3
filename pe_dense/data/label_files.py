"""Reading files with one value per pixel: depth maps and masks of class indices."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pe_dense.data.errors import DataError

IGNORE = 255
"""Class index of pixels without a class."""
LABEL_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".exr", ".npy", ".bmp", ".gif"})

_EXR_CHANNELS = ("Z", "Y", "V", "R")  # depth, luminance, Blender's value; a picture of which all channels are equal


def decode_depth(path: str | os.PathLike[str], scale: float | None = None) -> np.ndarray:
    """Read a depth map: 16-bit PNG or TIFF, EXR (needs ``pip install OpenEXR``), or npy (H x W, integers or floats).

    Args:
        path: the file.
        scale: stored units per metre; ``None`` is 1000 (millimetres) for integers and 1 (metres) for floats.

    Returns:
        H x W float32 metres, as stored: perhaps with NaN, infinite or negative values.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if the file cannot be decoded, has several channels that differ, or only 8 bits.
        ImportError: for an EXR file without the library.
    """
    values = _one_channel(_read_values(Path(path), "depth map"))
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise DataError(
            f"depth map {path} has the shape {values.shape} and type {values.dtype}, not one number per pixel; export "
            "distances (16-bit PNG, EXR or npy), not a coloured picture of them"
        )
    if values.dtype.itemsize == 1:
        raise DataError(
            f"depth map {path} has only 8 bits per pixel, too few for distances; export it as 16-bit PNG, EXR or npy"
        )
    if scale is None:
        scale = 1.0 if values.dtype.kind == "f" else 1000.0
    return np.divide(values, np.float32(scale), dtype=np.float32, casting="unsafe")


def decode_labels(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a mask: of palette images the indices, of greyscale ones the grey values, of 1-bit ones 0 and 1.

    Returns:
        H x W of an unsigned integer type, or H x W x 3 uint8 RGB for a coloured picture.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if the file cannot be decoded or holds anything but integers.
    """
    path = Path(path)
    values = _palette_indices(path)
    if values is None:
        values = _one_channel(_read_values(path, "mask"))
    if values.dtype.kind not in "ui" or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        raise DataError(
            f"mask {path} has the shape {values.shape} and type {values.dtype}; store one class index per pixel, e.g. "
            "in a greyscale or palette PNG"
        )
    return values


def _palette_indices(path: Path) -> np.ndarray | None:
    """What OpenCV would turn into colours, or stretch to 0 and 255; ``None`` for other images."""
    try:
        with Image.open(path) as image:
            return np.array(image, dtype=np.uint8) if image.mode in ("P", "1") else None
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None  # the other reader says what is wrong


def _read_values(path: Path, what: str) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{what} {path} does not exist; check the folder and the list of files")
    values: np.ndarray | None = None
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif suffix == ".exr":
            values = _read_exr(path)
        else:
            content = np.fromfile(path, dtype=np.uint8)
            values = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except (ValueError, EOFError, RuntimeError, cv2.error):
        values = None
    if values is None:
        raise DataError(
            f"{what} {path} cannot be decoded ({path.stat().st_size:,} bytes: truncated, damaged or of another "
            "format); copy it again or remove it from the data set"
        )
    return values


def _read_exr(path: Path) -> np.ndarray:
    """OpenCV's wheels no longer read EXR files."""
    try:
        import OpenEXR
    except ImportError:
        raise ImportError(f"{path} needs the OpenEXR library: pip install OpenEXR, or convert it to npy") from None
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    name = next((n for n in _EXR_CHANNELS if n in channels), next(iter(channels)))
    if name == "R" and {"G", "B"} <= channels.keys():
        return np.stack([channels[n] for n in "BGR"], axis=-1)
    values: np.ndarray = channels[name]
    return values


def _one_channel(values: np.ndarray) -> np.ndarray:
    """H x W if there is only one channel, or all are equal; else RGB without alpha."""
    if values.ndim != 3:
        return values
    colors = values[..., 2::-1]  # OpenCV's order is BGR(A)
    return np.ascontiguousarray(colors[..., 0]) if (colors == colors[..., :1]).all() else np.ascontiguousarray(colors)
