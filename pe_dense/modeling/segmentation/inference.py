"""How an image is shown to a segmenter at test time: whole or in windows, at which sizes, mirrored or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Window(NamedTuple):
    """A rectangle of pixels; bottom and right are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left


def window_grid(height: int, width: int, crop: int, stride: int) -> list[Window]:
    """Windows that cover an image, row by row: ``stride`` pixels apart, the last ones pushed back inside.

    A side that is shorter than ``crop`` has one window of its own length.
    """
    return [
        Window(top, min(top + crop, height), left, min(left + crop, width))
        for top in _starts(height, crop, stride)
        for left in _starts(width, crop, stride)
    ]


def _starts(side: int, crop: int, stride: int) -> list[int]:
    count = max(side - crop + stride - 1, 0) // stride + 1
    return [max(0, min(i * stride, side - crop)) for i in range(count)]


class View(NamedTuple):
    """One window that the model is shown.

    Attributes:
        image: number of the image.
        flipped: the image is mirrored, and the window lies in the mirrored one.
        window: in the pixels of the resized image.
    """

    image: int
    flipped: bool
    window: Window


class Stage(NamedTuple):
    """Images at one scale, whose logits are held at the same time.

    Attributes:
        sizes: image number to the (height, width) it is resized to.
        batches: views of equal size that the model sees at once.
    """

    sizes: dict[int, tuple[int, int]]
    batches: list[list[View]]


@dataclass(frozen=True)
class SegInference:
    """Settings of segmentation at test time; by default each image is seen whole, once, as it is.

    Attributes:
        crop: side in pixels of square windows that slide over the image; ``None`` shows it whole.
        stride: pixels from one window to the next; ``None`` is two thirds of ``crop``.
        short_side: resize images so that their shorter side has this many pixels; ``None`` leaves them. With ``scales``
            this is better than doing it in the data pipeline: each copy is made from the original.
        scales: further factors on the size; the class probabilities of all copies are averaged.
        flip: every copy also mirrored.
        batch_size: windows in one forward pass, of one or several images.

    Raises:
        ValueError: for values that make no sense.
    """

    crop: int | None = None
    stride: int | None = None
    short_side: int | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("crop", "stride", "short_side", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"SegInference.{name} must be at least 1, it is {value}")
        if self.stride is not None and (self.crop is None or self.stride > self.crop):
            raise ValueError(
                f"SegInference.stride is {self.stride} but crop is {self.crop}: windows need a crop that is not smaller"
            )
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"SegInference.scales {list(self.scales)}: give at least one, all above 0")

    @property
    def copies(self) -> int:
        """How often each image is seen."""
        return len(self.scales) * (2 if self.flip else 1)

    def size(self, height: int, width: int, scale: float = 1.0) -> tuple[int, int]:
        """What an image of this size is resized to; lengths are rounded to the nearest pixel."""
        factor = scale * (self.short_side / min(height, width) if self.short_side is not None else 1.0)
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def windows(self, height: int, width: int) -> list[Window]:
        """The windows of an image of this size."""
        if self.crop is None:
            return [Window(0, height, 0, width)]
        return window_grid(height, width, self.crop, self.stride or max(1, 2 * self.crop // 3))

    def stages(self, sizes: Sequence[tuple[int, int]]) -> list[Stage]:
        """All there is to run for images of these sizes, in order.

        Images are taken together if nothing has to be kept for them but labels, otherwise one after the other.
        """
        numbers = list(range(len(sizes)))
        groups = [numbers] if self.copies == 1 else [[i] for i in numbers]
        return [self._stage({i: self.size(*sizes[i], scale) for i in g}) for g in groups for scale in self.scales]

    def _stage(self, sizes: dict[int, tuple[int, int]]) -> Stage:
        alike: dict[tuple[int, int], list[View]] = {}
        for image, size in sizes.items():
            for flipped in (False, True) if self.flip else (False,):
                for window in self.windows(*size):
                    alike.setdefault(window.size, []).append(View(image, flipped, window))
        n = self.batch_size
        return Stage(sizes, [views[i : i + n] for views in alike.values() for i in range(0, len(views), n)])


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """C x H x W pixels at another size: bilinear, averaging over what a pixel covers where the image shrinks.

    Returns:
        C x h x w: the image itself if it has this size, else float32.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image.float()[None], size, mode="bilinear", antialias=True)[0]


def pixels(image: Tensor, view: View) -> Tensor:
    """What a view shows of its C x H x W image."""
    top, bottom, left, right = view.window
    return (image.flip(-1) if view.flipped else image)[:, top:bottom, left:right]


def needed_rows(start: int, stop: int, source: int, target: int) -> tuple[int, int]:
    """The rows of a map of ``source`` rows that rows ``start`` to ``stop`` of its resize to ``target`` rows need."""
    if source == target:
        return start, stop
    ratio = source / target
    first, last = (max(0, int((row + 0.5) * ratio - 0.5)) for row in (start, stop - 1))
    return min(first, source - 1), min(last + 2, source)


def strips(rows: int, per_row: int, limit: int = 2**23) -> Iterator[tuple[int, int]]:
    """(start, stop) of runs of rows that together hold about ``limit`` numbers, at least one row each."""
    step = max(1, limit // max(1, per_row))
    return ((start, min(start + step, rows)) for start in range(0, rows, step))
