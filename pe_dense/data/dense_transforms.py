"""Augmentations of the depth and segmentation recipes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.data.geometry import View
from pe_dense.data.label_files import IGNORE
from pe_dense.data.transforms import Transform

_CROP_TRIALS = 10


class Crop(Transform):
    """Cut out a fixed window, such as the part of an NYUv2 frame that is free of its white border.

    Args:
        top, left, height, width: in pixels of the image as it is at this step.
    """

    def __init__(self, top: int, left: int, height: int, width: int) -> None:
        if min(top, left) < 0 or min(height, width) < 1:
            raise ValueError(
                f"Crop(top={top}, left={left}, height={height}, width={width}): the window must not be empty and "
                "begin inside the image"
            )
        self.top, self.left, self.height, self.width = top, left, height, width

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Cut.

        Raises:
            DataError: if the image does not contain the window.
        """
        bottom, right = self.top + self.height, self.left + self.width
        if view.size[0] < bottom or view.size[1] < right:
            raise DataError(
                f"it is {view.size[1]} x {view.size[0]} where the transforms cut out rows {self.top}:{bottom} and "
                f"columns {self.left}:{right}; use images of the expected size or remove Crop from the transforms"
            )
        return view.crop(self.left, self.top, self.height, self.width)


class RandomScale(Transform):
    """Resize by a random factor.

    Args:
        min_scale, max_scale: range of the uniform factor on both sides.
    """

    def __init__(self, min_scale: float = 0.5, max_scale: float = 2.0) -> None:
        if not 0 < min_scale <= max_scale:
            raise ValueError(f"RandomScale(min_scale={min_scale}, max_scale={max_scale}): 0 < min_scale <= max_scale")
        self.min_scale = min_scale
        self.max_scale = max_scale

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Draw a factor and resize."""
        scale = rng.uniform(self.min_scale, self.max_scale)
        return view.resize(round(view.size[0] * scale), round(view.size[1] * scale))


class FixedSizeCrop(Transform):
    """Cut out a window of a fixed size at a random place; where the image is smaller, its side is kept.

    Args:
        size: side, or (height, width), in pixels.
        cat_max_ratio: draw again, up to ten times, while one class covers this share or more of the labelled pixels in
            the window or is alone there; 1 takes the first window. Needs ``sem_seg``.
        pad: pad at the bottom and right to ``size``; otherwise padding is left to the model's batching.
    """

    def __init__(self, size: int | Sequence[int], cat_max_ratio: float = 1.0, pad: bool = False) -> None:
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(self.size) < 1 or not 0 < cat_max_ratio <= 1:
            raise ValueError(
                f"FixedSizeCrop(size={size}, cat_max_ratio={cat_max_ratio}): size must be positive and "
                "0 < cat_max_ratio <= 1"
            )
        self.cat_max_ratio = cat_max_ratio
        self.pad = pad

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Draw a window."""
        return self.view_by_labels(view, rng, None)

    def view_by_labels(self, view: View, rng: np.random.Generator, sem_seg: np.ndarray | None) -> View:
        """Draw windows until one is varied enough."""
        window = self._window(view, rng)
        if sem_seg is not None and self.cat_max_ratio < 1:
            trials = 1
            while trials < _CROP_TRIALS and not self._is_varied(window.labels(sem_seg, IGNORE)):
                window = self._window(view, rng)
                trials += 1
        return window.pad(*self.size) if self.pad else window

    def _window(self, view: View, rng: np.random.Generator) -> View:
        height, width = (min(side, limit) for side, limit in zip(view.size, self.size))
        top = int(rng.integers(view.size[0] - height, endpoint=True))
        left = int(rng.integers(view.size[1] - width, endpoint=True))
        return view.crop(left, top, height, width)

    def _is_varied(self, labels: np.ndarray) -> bool:
        counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE]
        return bool(np.count_nonzero(counts) > 1 and counts.max() < self.cat_max_ratio * counts.sum())


class RandomRotation(Transform):
    """Turn what is shown about its centre by a small random angle; what comes into sight is unknown (ignored).

    A depth map keeps its values: turning the camera about its viewing direction does not change them.

    Args:
        degrees: the angle is uniform in [-degrees, degrees].
        prob: from 0 (never) to 1 (always).
    """

    def __init__(self, degrees: float = 2.5, prob: float = 0.5) -> None:
        if not 0 <= degrees <= 180 or not 0 <= prob <= 1:
            raise ValueError(
                f"RandomRotation(degrees={degrees}, prob={prob}): give an angle from 0 to 180 and a probability from "
                "0 to 1"
            )
        self.degrees = degrees
        self.prob = prob

    def view(self, view: View, rng: np.random.Generator) -> View:
        """Turn or not."""
        angle = rng.uniform(-self.degrees, self.degrees)
        return view.rotate(angle) if rng.random() < self.prob else view


class GammaJitter(Transform):
    """Random gamma, brightness and colour balance (BTS, Lee et al. 2019, arXiv 1907.10326).

    Args:
        prob: from 0 (never) to 1 (always).
        gamma: range of the exponent on values from 0 to 1.
        brightness: range of the factor on all channels.
        color: range of the factor on each channel.
    """

    def __init__(
        self,
        prob: float = 0.5,
        gamma: Sequence[float] = (0.9, 1.1),
        brightness: Sequence[float] = (0.75, 1.25),
        color: Sequence[float] = (0.9, 1.1),
    ) -> None:
        ranges = [(float(low), float(high)) for low, high in (gamma, brightness, color)]
        if not 0 <= prob <= 1 or any(not 0 < low <= high for low, high in ranges):
            raise ValueError(
                f"GammaJitter(prob={prob}, gamma={gamma}, brightness={brightness}, color={color}): give a probability "
                "and ranges of positive numbers"
            )
        self.prob = prob
        self.gamma, self.brightness, self.color = ranges

    def pixels(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw the numbers and apply them."""
        gamma, brightness = rng.uniform(*self.gamma), rng.uniform(*self.brightness)
        color = rng.uniform(*self.color, size=3)
        if rng.random() >= self.prob:
            return image
        levels = np.linspace(0, 1, 256)[:, None] ** gamma * (255 * brightness * color)
        return cv2.LUT(image, _as_bytes(levels)[None])


class PhotometricDistortion(Transform):
    """Random brightness, contrast, saturation and hue, each with probability one half (SSD, Liu et al. 2016,
    arXiv 1512.02325, section 2.2; with the strengths that the segmentation recipes use).

    Contrast comes first or last, at random.

    Args:
        brightness: the shift is uniform in [-brightness, brightness], of 255.
        contrast, saturation: range of the factors.
        hue: the shift is uniform in [-hue, hue], in units of 2 degrees (OpenCV's).
    """

    def __init__(
        self,
        brightness: float = 32,
        contrast: Sequence[float] = (0.5, 1.5),
        saturation: Sequence[float] = (0.5, 1.5),
        hue: int = 18,
    ) -> None:
        ranges = [(float(low), float(high)) for low, high in (contrast, saturation)]
        if not 0 <= brightness <= 255 or not 0 <= hue <= 90 or any(not 0 <= low <= high for low, high in ranges):
            raise ValueError(
                f"PhotometricDistortion(brightness={brightness}, contrast={contrast}, saturation={saturation}, "
                f"hue={hue}): brightness is at most 255, hue at most 90, and factors are ranges of positive numbers"
            )
        self.brightness, self.hue = brightness, hue
        self.contrast, self.saturation = ranges

    def pixels(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw the numbers and apply them."""
        brightness = rng.uniform(-self.brightness, self.brightness)
        contrast, saturation = rng.uniform(*self.contrast), rng.uniform(*self.saturation)
        hue = int(rng.integers(-self.hue, self.hue, endpoint=True))
        brighter, contrasted, saturated, turned, first = (rng.random(5) < 0.5).tolist()
        levels = np.arange(256, dtype=np.float64)
        if brighter:
            levels = _as_bytes(levels + brightness).astype(np.float64)
        if contrasted and first:
            levels *= contrast
        if brighter or (contrasted and first):
            image = cv2.LUT(image, _as_bytes(levels))
        if saturated or turned:
            image = _shifted_hsv(image, hue if turned else 0, saturation if saturated else 1.0)
        if contrasted and not first:
            image = cv2.LUT(image, _as_bytes(np.arange(256) * contrast))
        return image


def _shifted_hsv(image: np.ndarray, hue: int, saturation: float) -> np.ndarray:
    levels = np.arange(256)
    table = np.stack([(levels + hue) % 180, _as_bytes(levels * saturation), levels], axis=1).astype(np.uint8)
    shifted = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table[None])
    return cv2.cvtColor(shifted, cv2.COLOR_HSV2RGB)


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
