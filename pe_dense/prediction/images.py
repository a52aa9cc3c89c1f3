"""The forms in which users hand images over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Union

import numpy as np
import torch
from torch import Tensor

from pe_dense.data import read_image
from pe_dense.data.image_io import planes

if TYPE_CHECKING:
    from PIL import Image

ImageLike = Union[str, "os.PathLike[str]", np.ndarray, Tensor, "Image.Image"]
"""A file, an H x W x 3 uint8 RGB array, a 3 x H x W uint8 RGB tensor, or a PIL image of any mode."""


def as_tensor(image: ImageLike) -> Tensor:
    """3 x H x W uint8 RGB; a tensor is returned as it is.

    Raises:
        TypeError: for an array or PIL image of another kind than :data:`ImageLike` says.
        FileNotFoundError, DataError: if a file is missing or cannot be decoded.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise TypeError(
                f"expected an H x W x 3 uint8 RGB array, got {image.shape} {image.dtype}; "
                f"give the image's path or a PIL image, which are converted from any format"
            )
        return planes(np.ascontiguousarray(image))
    if isinstance(image, Tensor):
        return image
    from PIL import Image  # not needed for any other kind of input

    if isinstance(image, Image.Image):
        return planes(_rgb_of_pil(image))
    raise TypeError(
        f"expected a path, an H x W x 3 array, a 3 x H x W tensor or a PIL image, got {type(image).__name__}"
    )


def as_batch(images: ImageLike) -> Tensor:
    """B x 3 x H x W pixels of 0..255, uint8 or float32.

    Args:
        images: one image (B is 1), a B x H x W x 3 uint8 RGB array or a B x 3 x H x W RGB tensor. Tensors may also be
            of floating-point numbers from 0 to 1.

    Raises:
        TypeError: for another shape or type.
        ValueError: for numbers outside 0..1, or no pixels.
        FileNotFoundError, DataError: if a file is missing or cannot be decoded.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8:
        batch = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    else:
        batch = as_tensor(images)
    shape = " x ".join(str(side) for side in batch.shape)
    if batch.ndim == 3:
        batch = batch[None]
    if batch.ndim != 4 or batch.shape[1] != 3 or not (batch.dtype == torch.uint8 or batch.is_floating_point()):
        raise TypeError(
            f"expected a 3 x H x W or B x 3 x H x W RGB tensor, uint8 or of floats from 0 to 1, got {shape} "
            f"{batch.dtype}; repeat the channel of a grey image with expand, drop alpha with [:3]"
        )
    if not batch.numel():
        raise ValueError(f"an image of {shape} has no pixels")
    if batch.dtype == torch.uint8:
        return batch
    low, high = batch.detach().aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"a tensor of floats must lie between 0 and 1, this one between {float(low):g} and {float(high):g}; do not "
            f"normalise it, or give uint8 for 0..255"
        )
    return batch.float() * 255


def _rgb_of_pil(image: Image.Image) -> np.ndarray:
    """H x W x 3 uint8 RGB, by the rules of :func:`~pe_dense.data.read_image`."""
    from PIL import Image, ImageOps

    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I"):  # 16-bit samples, which Pillow would cut off at 255 instead of scaling
        turned = Image.fromarray((np.asarray(turned).clip(0, 65535) // 256).astype(np.uint8))
    elif turned.mode == "F":
        raise TypeError('a PIL image of mode "F" has no fixed range of values; convert it to "RGB"')
    return np.asarray(turned.convert("RGB"))
