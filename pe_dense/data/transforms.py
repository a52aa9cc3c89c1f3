"""Augmentations. Each draws its random numbers from the generator it is given."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from pe_dense.data.geometry import View
from pe_dense.data.image_io import planes


class Transform:
    """One step. Geometric steps refine the view, photometric ones change the pixels of the finished view."""

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Refine the geometric map; by default unchanged."""
        return view

    def view_by_labels(self, view: View, rng: np.random.Generator, sem_seg: np.ndarray | None) -> View:
        """As :meth:`view`, for a step whose choice depends on the labels.

        Args:
            sem_seg: H x W uint8 class indices of the whole source, 255 = ignore; ``None`` if there are none.
        """
        return self.view(view, rng)

    def pixels(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change an H x W x 3 uint8 RGB image, already at its final size; by default unchanged."""
        return image


class RandomFlip(Transform):
    """Exchange left and right with a probability.

    Args:
        prob: from 0 (never) to 1 (always).
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"RandomFlip(prob={prob}): give a probability from 0 to 1")
        self.prob = prob

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Flip or not."""
        return view.flip() if rng.random() < self.prob else view


class LargeScaleJitter(Transform):
    """Resize to fit a target that is scaled at random, then crop at random to the target's size.

    Simple Copy-Paste (Ghiasi et al. 2021, section 4.1; detectron2's ``ResizeScale`` + ``FixedSizeCrop``): the image is
    resized, keeping its aspect, to fit into ``scale * size``; what exceeds ``size`` is cut off.

    Args:
        size: target side, or (height, width), in pixels.
        min_scale, max_scale: range of the uniform random scale.
        pad: pad at the bottom and right to ``size``; otherwise padding is left to the model's batching.
        shared_offset: one random number places the crop along both axes, as in detectron2 (where an image that exceeds
            the target in both axes is then only cut along its diagonal), instead of one for each.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        min_scale: float = 0.1,
        max_scale: float = 2.0,
        pad: bool = False,
        shared_offset: bool = False,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(self.size) < 1 or not 0 < min_scale <= max_scale:
            raise ValueError(
                f"LargeScaleJitter(size={size}, min_scale={min_scale}, max_scale={max_scale}): "
                "size must be positive and 0 < min_scale <= max_scale"
            )
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.pad = pad
        self.shared_offset = shared_offset

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Draw a scale and a crop."""
        height, width = view.size
        scale = rng.uniform(self.min_scale, self.max_scale) * min(self.size[0] / height, self.size[1] / width)
        offset_y, offset_x = rng.random(2)
        if self.shared_offset:
            offset_x = offset_y
        view = view.resize(round(height * scale), round(width * scale))
        height, width = (min(side, limit) for side, limit in zip(view.size, self.size))
        top, left = round(offset_y * (view.size[0] - height)), round(offset_x * (view.size[1] - width))
        view = view.crop(left, top, height, width)
        return view.pad(*self.size) if self.pad else view


class ResizeShortestEdge(Transform):
    """Resize so that the shorter side has a given length, unless the longer one would exceed a limit.

    Args:
        short_edge_length: pixels, or several lengths to choose from at random.
        max_size: the longer side is at most this many pixels.
    """

    def __init__(self, short_edge_length: int | Sequence[int], max_size: int | None = None) -> None:
        lengths = [short_edge_length] if isinstance(short_edge_length, int) else [int(s) for s in short_edge_length]
        if not lengths or min(lengths) < 1 or (max_size is not None and max_size < 1):
            raise ValueError(
                f"ResizeShortestEdge(short_edge_length={short_edge_length}, max_size={max_size}): give positive lengths"
            )
        self.short_edge_lengths = lengths
        self.max_size = max_size

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Choose a length and resize."""
        height, width = view.size
        choice = rng.integers(len(self.short_edge_lengths)) if len(self.short_edge_lengths) > 1 else 0
        scale = self.short_edge_lengths[choice] / min(height, width)
        if self.max_size is not None:
            scale = min(scale, self.max_size / max(height, width))
        return view.resize(int(height * scale + 0.5), int(width * scale + 0.5))


class RandomCrop(Transform):
    """Cut out a window whose sides are drawn uniformly and independently from a range (DETR's crop).

    Args:
        min_size, max_size: range of each side in pixels; sides that the image does not have are its own.
    """

    def __init__(self, min_size: int, max_size: int) -> None:
        if not 1 <= min_size <= max_size:
            raise ValueError(f"RandomCrop(min_size={min_size}, max_size={max_size}): 1 <= min_size <= max_size")
        self.min_size = min_size
        self.max_size = max_size

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Draw a window."""
        height, width = (
            int(rng.integers(min(side, self.min_size), min(side, self.max_size), endpoint=True)) for side in view.size
        )
        top = int(rng.integers(view.size[0] - height, endpoint=True))
        left = int(rng.integers(view.size[1] - width, endpoint=True))
        return view.crop(left, top, height, width)


class RandomChoice(Transform):
    """One of several chains of geometric steps, each as likely as the others (DETR's ``RandomSelect``).

    Args:
        chains: lists of steps.

    Raises:
        ValueError: without any chain, or with a step that changes pixels or looks at labels.
    """

    def __init__(self, chains: Sequence[Sequence[Transform]]) -> None:
        if not chains:
            raise ValueError("RandomChoice: chains is empty; give lists of steps to choose from")
        for step in (step for chain in chains for step in chain):
            kind = type(step)
            if (kind.pixels, kind.view_by_labels) != (Transform.pixels, Transform.view_by_labels):
                raise ValueError(f"RandomChoice: {kind.__name__} does more than move and scale; put it beside this")
        self.chains = [list(chain) for chain in chains]

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Choose a chain and apply it."""
        for step in self.chains[int(rng.integers(len(self.chains)))]:
            view = step.view(view, rng)
        return view


class ColorJitter(Transform):
    """Random brightness, contrast, saturation and hue, with torchvision's meaning of the strengths.

    The first three are one linear map of the colours, rounded and cut to 0..255 once; hue is turned before them.

    Args:
        brightness, contrast, saturation: the factor is uniform in [max(0, 1 - value), 1 + value].
        hue: the shift is uniform in [-hue, hue] turns, hue <= 0.5.
    """

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
            raise ValueError(
                f"ColorJitter(brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}): "
                "strengths are at least 0 and hue at most 0.5"
            )
        self.strengths = (brightness, contrast, saturation)
        self.hue = hue

    def pixels(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw the factors and apply them."""
        brightness, contrast, saturation = (rng.uniform(max(0.0, 1 - s), 1 + s) for s in self.strengths)
        shift = rng.uniform(-self.hue, self.hue)
        if self.hue:
            image = _turn_hue(image, shift)
        grey = np.array([0.299, 0.587, 0.114])
        mean = float(np.dot(cv2.mean(image)[:3], grey)) * brightness if contrast != 1 else 0.0
        colours = saturation * np.eye(3) + (1 - saturation) * grey[None]
        matrix = np.concatenate([brightness * contrast * colours, np.full((3, 1), (1 - contrast) * mean)], axis=1)
        return cv2.transform(image, matrix)


def _turn_hue(image: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    table = ((np.arange(256) + round(turns * 256)) % 256).astype(np.uint8)
    hsv[..., 0] = table[hsv[..., 0]]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def apply_transforms(
    image: np.ndarray,
    transforms: Sequence[Transform],
    rng: np.random.Generator,
    sem_seg: np.ndarray | None = None,
) -> tuple[np.ndarray, View]:
    """Run a chain on H x W x 3 uint8 pixels, resampling once (after a rotation: twice).

    Args:
        sem_seg: H x W uint8 class indices, for the steps that look at them.

    Returns:
        The h x w x 3 result and the view that maps coordinates to it.
    """
    view = View.whole(*image.shape[:2])
    for step in transforms:
        view = step.view_by_labels(view, rng, sem_seg)
    shown = view.image(image)
    for step in transforms:
        shown = step.pixels(shown, rng)
    return shown, view


def transform_image(image: Tensor, transforms: Sequence[Transform], seed: int = 0) -> Tensor:
    """Apply a chain to one 3 x H x W uint8 RGB tensor (prediction); the result is 3 x h x w uint8.

    Raises:
        TypeError: if the tensor has another shape or dtype.
    """
    if image.ndim != 3 or image.shape[0] != 3 or str(image.dtype) != "torch.uint8":
        raise TypeError(f"expected a 3 x H x W uint8 RGB image, got {tuple(image.shape)} {image.dtype}; use read_image")
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    return planes(apply_transforms(pixels, transforms, np.random.default_rng(seed))[0])
