"""The one geometric map of a sample: which part of the image is seen, how large, and whether mirrored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Rotation:
    """A rectangle of the source turned about its own centre; what lies outside of the rectangle is gone.

    Attributes:
        degrees: counter-clockwise.
        left, top, right, bottom: source pixels, right and bottom exclusive.
    """

    degrees: float
    left: int
    top: int
    right: int
    bottom: int

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Where ... x 2 source coordinates (x, y; pixel centres at +0.5) come to lie."""
        centre = np.array([self.left + self.right, self.top + self.bottom]) / 2
        cosine, sine = np.cos(np.radians(self.degrees)), np.sin(np.radians(self.degrees))
        return (xy - centre) @ np.array([[cosine, -sine], [sine, cosine]]) + centre

    def pixels(self, source: np.ndarray, method: int, fill: int) -> np.ndarray:
        """The turned source: same size and dtype, ``fill`` where nothing is known.

        Args:
            source: H x W or H x W x 3.
            method: ``cv2.INTER_LINEAR`` or ``cv2.INTER_NEAREST``.
            fill: value of pixels that come from outside of the rectangle.
        """
        height, width = self.bottom - self.top, self.right - self.left
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), self.degrees, 1.0)
        turned = np.full_like(source, fill)
        piece = source[self.top : self.bottom, self.left : self.right]
        turned[self.top : self.bottom, self.left : self.right] = cv2.warpAffine(
            piece, matrix, (width, height), flags=method, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 3
        )
        return turned


@dataclass(frozen=True)
class View:
    """A rectangle of whole source pixels shown at a size, perhaps mirrored; the source perhaps turned before.

    Geometric transforms only refine a view; pixels, boxes and masks are mapped once, at the end, by the same numbers.
    Keeping the rectangle on the source's pixel grid makes the map exact for all of them, and the image a single resize
    of just that rectangle; a crop moves by at most half a source pixel for it.

    Attributes:
        source: (height, width) of the original image.
        left, top, right, bottom: the visible source pixels, right and bottom exclusive.
        size: (height, width) they are shown at.
        mirrored: left and right exchanged.
        canvas: (height, width) after padding at the bottom and right, or ``None`` for no padding.
        rotation: turns the source before anything else, or ``None``.
    """

    source: tuple[int, int]
    left: int
    top: int
    right: int
    bottom: int
    size: tuple[int, int]
    mirrored: bool = False
    canvas: tuple[int, int] | None = None
    rotation: Rotation | None = None

    @classmethod
    def whole(cls, height: int, width: int) -> View:
        """The original image as it is."""
        return cls((height, width), 0, 0, width, height, (height, width))

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the transformed image, padding included."""
        return self.canvas or self.size

    @property
    def scale(self) -> tuple[float, float]:
        """Output pixels per source pixel: (vertical, horizontal)."""
        return self.size[0] / (self.bottom - self.top), self.size[1] / (self.right - self.left)

    def resize(self, height: int, width: int) -> View:
        """Show the same pixels at another size (at least 1 x 1)."""
        return replace(self, size=(max(1, height), max(1, width)))

    def flip(self) -> View:
        """Exchange left and right."""
        return replace(self, mirrored=not self.mirrored)

    def pad(self, height: int, width: int) -> View:
        """Pad at the bottom and right to at least this size."""
        return replace(self, canvas=(max(height, self.size[0]), max(width, self.size[1])))

    def crop(self, left: int, top: int, height: int, width: int) -> View:
        """Keep a window of the shown image, in its pixels; it must lie inside ``size``."""
        if self.mirrored:
            left = self.size[1] - left - width
        scale_y, scale_x = self.scale
        x0, x1 = _grid(self.left, self.right, left / scale_x, (left + width) / scale_x)
        y0, y1 = _grid(self.top, self.bottom, top / scale_y, (top + height) / scale_y)
        return replace(self, left=x0, right=x1, top=y0, bottom=y1, size=(height, width))

    def rotate(self, degrees: float) -> View:
        """Turn what is shown counter-clockwise about its centre; the corners that come into sight are unknown.

        Raises:
            ValueError: if the view is turned already; one resampling is enough.
        """
        if self.rotation is not None:
            raise ValueError("a view turns only once; put one rotation into the chain of transforms")
        sense = -degrees if self.mirrored else degrees
        return replace(self, rotation=Rotation(sense, self.left, self.top, self.right, self.bottom))

    @property
    def unrotated(self) -> View:
        """The view of a source that is turned already."""
        return replace(self, rotation=None)

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Map ... x 2 source coordinates (x, y; pixel centres at +0.5) to the view; not clipped."""
        if self.rotation is not None:
            xy = self.rotation.points(xy)
        scale_y, scale_x = self.scale
        mapped = (xy - np.array([self.left, self.top])) * np.array([scale_x, scale_y])
        if self.mirrored:
            mapped[..., 0] = self.size[1] - mapped[..., 0]
        return mapped

    def boxes(self, xyxy: np.ndarray) -> np.ndarray:
        """Map N x 4 source boxes (XYXY) and clip them to the view; float64. A turned box gets an upright one around."""
        corners = self.points(xyxy[:, [[0, 1], [2, 3], [0, 3], [2, 1]]].astype(np.float64))
        low, high = corners.min(axis=1), corners.max(axis=1)
        limit = np.array([self.size[1], self.size[0]] * 2)
        return np.clip(np.concatenate([low, high], axis=1), 0, limit)

    def image(self, source: np.ndarray) -> np.ndarray:
        """Show H x W x 3 uint8 pixels: output height x width x 3, padded with zeros.

        Enlarging is bilinear; shrinking averages over all source pixels that an output pixel covers (no aliasing).
        """
        shown = source if self.rotation is None else self.rotation.pixels(source, cv2.INTER_LINEAR, 0)
        enlarges = self.scale[0] * self.scale[1] >= 1
        return self._placed(shown, cv2.INTER_LINEAR if enlarges else cv2.INTER_AREA, 0)

    def labels(self, source: np.ndarray, fill: int) -> np.ndarray:
        """Show H x W values that must not be mixed: class indices, or depth.

        Each output pixel takes the source pixel at its centre. Averages would invent classes, and depths between an
        object and what is behind it, where there is no surface, and next to holes; this also keeps sparse points.

        Args:
            source: H x W uint8 or float32.
            fill: for padding and what a rotation brings into sight: 255 for labels, 0 for depth.
        """
        shown = source if self.rotation is None else self.rotation.pixels(source, cv2.INTER_NEAREST, fill)
        return self._placed(shown, cv2.INTER_NEAREST_EXACT, fill)

    def _placed(self, source: np.ndarray, method: int, fill: int) -> np.ndarray:
        """Cut out, resize, mirror and pad."""
        shown = source[self.top : self.bottom, self.left : self.right]
        enlarges = self.scale[0] * self.scale[1] >= 1
        if self.mirrored and enlarges:  # mirror where there are fewer pixels
            shown = cv2.flip(shown, 1)
        if shown.shape[:2] != self.size:
            shown = cv2.resize(shown, self.size[::-1], interpolation=method)
        if self.mirrored and not enlarges:
            shown = cv2.flip(shown, 1)
        if self.output_size == self.size:
            return shown
        padded = np.full((*self.output_size, *source.shape[2:]), fill, dtype=source.dtype)
        padded[: self.size[0], : self.size[1]] = shown
        return padded


def _grid(low: int, high: int, start: float, stop: float) -> tuple[int, int]:
    """Whole-pixel interval nearest to [low + start, low + stop], inside [low, high] and at least one pixel long."""
    first = min(low + round(start), high - 1)
    return first, min(max(low + round(stop), first + 1), high)
