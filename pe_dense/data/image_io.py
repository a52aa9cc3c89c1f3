"""Reading image files."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from pe_dense.data.errors import DataError


def decode_image(path: str | os.PathLike[str], if_missing: str = "check the path") -> np.ndarray:
    """Read an image file as H x W x 3 uint8 RGB.

    The EXIF orientation is applied; greyscale and palette images become RGB; alpha is dropped (not composited: what
    lies under transparent pixels is kept); 16-bit samples are divided by 256; of an animation, the first frame is read.

    Args:
        path: of the file.
        if_missing: what the message of a missing file advises.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if the file cannot be decoded completely (truncated, damaged, not an image).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image {path} does not exist; {if_missing}")
    image: np.ndarray | None = None
    content = np.fromfile(path, dtype=np.uint8)
    if content.size:
        try:
            image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
        except cv2.error:  # more pixels than OpenCV accepts, or a broken header
            image = None
    if image is None:
        raise DataError(
            f"image {path} cannot be decoded ({content.size:,} bytes: truncated, damaged or not an image); "
            "copy it again, convert it to JPEG or PNG, or leave it out"
        )
    return image


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image file as a 3 x H x W uint8 RGB tensor; see :func:`decode_image` for the details and errors."""
    return planes(decode_image(path))


def planes(image: np.ndarray) -> Tensor:
    """Contiguous 3 x H x W tensor of an H x W x 3 uint8 array."""
    tensor = torch.empty((3, *image.shape[:2]), dtype=torch.uint8)
    cv2.split(image, list(tensor.numpy()))
    return tensor
