"""Masks of video objects as indexed PNGs, the format of DAVIS: a pixel's value is its object's id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pe_dense.data import DataError
from pe_dense.data.scenes.write_video import davis_palette

_VOID = 255


def read_masks(path: str | Path) -> np.ndarray:
    """H x W uint8 ids from a palette or greyscale PNG, 0 is background.

    255 beside other ids is DAVIS's "void" and becomes background; 255 alone (DAVIS 2016) is an object.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it is no such picture.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"mask {path} does not exist; check the path")
    try:
        with Image.open(path) as image:
            mode, labels = image.mode, np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"mask {path} cannot be decoded: damaged, or no picture; write it again as PNG") from error
    if mode not in ("P", "L", "1"):
        raise DataError(
            f"mask {path} is a picture of mode {mode}; write an indexed (palette or greyscale) 8-bit PNG whose values "
            f"are the ids of the objects, 0 for background"
        )
    labels = labels.astype(np.uint8)
    if ((labels > 0) & (labels < _VOID)).any():
        labels[labels == _VOID] = 0
    return labels


def write_masks(path: Path, labels: np.ndarray) -> None:
    """Write H x W ids as PNG with DAVIS's palette; the folder is made if need be.

    Raises:
        ValueError: for an id above 255, which the format does not hold.
        OSError: if it cannot be written.
    """
    if labels.max(initial=0) > 255:
        raise ValueError(f"{path}: an indexed PNG holds ids up to 255, not {labels.max()}; renumber the objects")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8)).convert("L")
    image.putpalette(davis_palette())
    image.save(path, format="PNG")
