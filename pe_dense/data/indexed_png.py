"""Masks of objects as indexed PNGs, the format of DAVIS and YouTube-VOS: a pixel's value is its object's number."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pe_dense.data.errors import DataError
from pe_dense.data.label_files import IGNORE as VOID
from pe_dense.data.label_files import decode_labels


def _davis_palette() -> np.ndarray:
    """Colours of the PASCAL VOC palette, by the bits of the index, with DAVIS's 191 for its 192."""
    index, palette = np.arange(256)[:, None], np.zeros((256, 3), dtype=int)
    for bit in range(8):
        palette |= (index >> (3 * bit + np.arange(3)) & 1) << (7 - bit)
    palette[palette == 192] = 191
    return palette.astype(np.uint8)


DAVIS_PALETTE = _davis_palette()
"""256 x 3 uint8 RGB: the colour of each object in DAVIS's annotations, 0 (background) black."""


def read_indexed_png(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a mask of object numbers: a palette PNG's indices, a greyscale PNG's values.

    Returns:
        H x W uint8: 0 background, 255 (``VOID``) what belongs to nothing, else the object.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if the file cannot be decoded, is coloured, or has more than 8 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("P", "L", "1"):
                return np.array(image, dtype=np.uint8)
            mode = image.mode
    except FileNotFoundError:
        raise FileNotFoundError(f"mask {path} does not exist; check the path") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise DataError(f"mask {path} cannot be decoded: truncated, damaged, or no PNG; write it again") from None
    fault = "holds more than 8 bits per pixel" if mode.startswith(("I", "F")) else f"is a colour picture ({mode})"
    raise DataError(
        f"mask {path} {fault}; write an indexed (palette or greyscale) 8-bit PNG whose values are the object numbers, "
        "0 to 254"
    )


def read_object_ids(path: str | os.PathLike[str]) -> np.ndarray:
    """As :func:`read_indexed_png`, to follow the objects: 255 beside other numbers is void and becomes background; 255
    alone (DAVIS 2016) is an object.

    Returns:
        H x W uint8 ids, 0 background.

    Raises:
        FileNotFoundError, DataError: see :func:`read_indexed_png`.
    """
    labels = read_indexed_png(path)
    if ((labels > 0) & (labels < VOID)).any():
        labels[labels == VOID] = 0
    return labels


def read_foreground_png(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a mask of one object, which may be several in an indexed PNG: all of them are foreground.

    Returns:
        H x W uint8: 0 background, 1 foreground.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if the file cannot be decoded, is coloured, or its grey values are probabilities and no mask.
    """
    labels = decode_labels(path)
    if labels.ndim != 2:
        raise DataError(f"mask {path} is a colour picture; write 0 for background and 255 (or 1) for foreground")
    foreground = labels > 0
    if not _has_palette(path):
        top = labels.max(initial=0)
        if top > VOID or (labels[foreground] != top).any():
            raise DataError(
                f"mask {path} has grey values up to {top} besides 0: a soft mask; cut it at one half and write 0 for "
                "background and 255 (or 1) for foreground, or write an indexed PNG"
            )
    return foreground.astype(np.uint8)


def write_indexed_png(path: str | os.PathLike[str], labels: np.ndarray, palette: np.ndarray = DAVIS_PALETTE) -> None:
    """Write object numbers as an 8-bit palette PNG, as DAVIS and YouTube-VOS accept it; its folder is made if need be.

    A file appears whole or not at all.

    Args:
        path: of the file.
        labels: H x W integers or bool, 0 (background) to 255.
        palette: N x 3 uint8 RGB, N at most 256.

    Raises:
        ValueError: if ``labels`` has another shape or type, or a number that 8 bits cannot hold.
        OSError: if the file cannot be written.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "uib" or not labels.size:
        raise ValueError(
            f"{path}: labels have the shape {labels.shape} and type {labels.dtype}; they must be H x W integers"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > 255:
        raise ValueError(f"{path}: object numbers {low} to {high} do not fit into 8 bits (0 to 255); renumber them")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(np.asarray(palette, dtype=np.uint8).tobytes())
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    image.save(partial, format="PNG", compress_level=1)
    partial.replace(target)


def read_palette(path: str | os.PathLike[str]) -> np.ndarray | None:
    """N x 3 uint8 RGB colours of a palette image, to write others alike; ``None`` for other images.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            colors = image.getpalette()
    except FileNotFoundError:
        raise FileNotFoundError(f"mask {path} does not exist; check the path") from None
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise DataError(f"mask {path} cannot be decoded: truncated, damaged, or no PNG; write it again") from None
    return None if colors is None else np.array(colors, dtype=np.uint8).reshape(-1, 3)


def _has_palette(path: str | os.PathLike[str]) -> bool:
    with Image.open(path) as image:
        return image.mode == "P"
