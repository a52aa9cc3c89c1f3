"""Video frames and given masks, as label propagation takes them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pe_dense.modeling.tracking.label_propagation import LabelPropagation

Frame = np.ndarray | Tensor
"""An H x W x 3 uint8 RGB array, or a 3 x H x W uint8 RGB tensor."""

Masks = np.ndarray | Tensor
"""H x W integers: 0 is background, any other value the id of an object; or H x W bool: one object, of id 1."""


def input_size(size: tuple[int, int], settings: LabelPropagation, patch: int) -> tuple[int, int]:
    """(height, width) of the encoder's input for a frame of (height, width), whole patches.

    With DINO's settings 480 x 854 becomes 480 x 832 for patches of 16 pixels, and 476 x 826 for patches of 14, so
    that the grid of 34 x 59 is that of its script, which leaves the last pixels out.
    """
    height, width = size
    short, long = min(size), max(size)
    scaled = settings.short_side * long / short
    if settings.long_multiple:
        scaled = scaled // settings.long_multiple * settings.long_multiple
    low, high = (_whole(side, patch, settings.round_up) for side in (settings.short_side, scaled))
    return (high, low) if height > width else (low, high)


def _whole(side: float, patch: int, up: bool) -> int:
    """A side in whole patches, at least one."""
    # to the pixel first: 960 * 854 / 480 is a little more than 1708 in floating point
    patches = -(-int(side + 0.5) // patch) if up else int(side) // patch
    return max(1, patches) * patch


def frame_size(frame: Frame) -> tuple[int, int]:
    """(height, width) of a frame.

    Raises:
        TypeError: if it is none.
    """
    array = isinstance(frame, np.ndarray)
    channels = -1 if array else 0
    known = frame.ndim == 3 and frame.shape[channels] == 3 and frame.dtype in (np.uint8 if array else torch.uint8,)
    if not known or 0 in frame.shape:
        raise TypeError(
            f"a frame must be an H x W x 3 uint8 RGB array or a 3 x H x W uint8 RGB tensor, not "
            f"{type(frame).__name__} {tuple(frame.shape)} {frame.dtype}"
        )
    height, width = frame.shape[:2] if array else frame.shape[1:]
    return int(height), int(width)


def encoder_input(
    frame: Frame,
    size: tuple[int, int],
    settings: LabelPropagation,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    device: torch.device,
) -> Tensor:
    """A frame resized and normalised: 1 x 3 x height x width float32 on ``device``.

    Args:
        frame: see :data:`Frame`.
        size: (height, width) of the result.
        settings: ``interpolation``.
        pixel_mean, pixel_std: per channel (RGB), of 0..255 pixels.
        device: where the result lies.
    """
    if settings.interpolation == "linear":
        array = frame if isinstance(frame, np.ndarray) else frame.permute(1, 2, 0).cpu().numpy()
        resized = cv2.resize(np.ascontiguousarray(array), size[::-1], interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(resized).to(device).permute(2, 0, 1)[None].float()
    else:
        planes = torch.from_numpy(frame).permute(2, 0, 1) if isinstance(frame, np.ndarray) else frame
        pixels = planes[None].to(device).float()
        pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 255)
    mean, std = (torch.tensor([float(v) for v in values], device=device) for values in (pixel_mean, pixel_std))
    return (pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def object_masks(masks: Masks, size: tuple[int, int]) -> Tensor:
    """Given masks as H x W int64 on the CPU.

    Args:
        masks: see :data:`Masks`.
        size: (height, width) of the frame that they belong to.

    Raises:
        TypeError: if they are of another type.
        ValueError: if they are not of the frame's size, or an id is negative.
    """
    array = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    if array.ndim != 2 or array.dtype.kind not in "biu":
        raise TypeError(
            f"masks must be H x W integers (0 is background, other values are the objects' ids) or H x W bool, not "
            f"{tuple(array.shape)} {array.dtype}"
        )
    if array.shape != size:
        raise ValueError(
            f"the masks are {array.shape[0]} x {array.shape[1]} but their frame is {size[0]} x {size[1]} (height x "
            f"width): resize the masks to the frame, by nearest neighbour"
        )
    ids = torch.from_numpy(array.astype(np.int64))
    for value in (int(ids.min()), int(ids.max())):
        if not 0 <= value < 2**31:
            raise ValueError(f"the masks hold the id {value}: ids must lie in 1..{2**31 - 1}, 0 is background")
    return ids


def resize_nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels H x W below 2**31 at another (height, width), by Pillow: the protocols' choice where two are as near."""
    image = Image.fromarray(labels.cpu().numpy().astype(np.int32))
    resized = np.array(image.resize(size[::-1], Image.Resampling.NEAREST))
    return torch.from_numpy(resized).to(labels)
