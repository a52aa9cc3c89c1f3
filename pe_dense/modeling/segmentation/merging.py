"""From the logits of windows to labels of the original image, a few rows at a time.

The logits of the windows stay at the head's resolution. Logits of full size (150 classes of 2000 x 3000 pixels take
3.6 GB) never exist, except for the one map of probabilities that copies of an image are averaged in. The classes of a
pixel lie side by side, which is the fastest order to resize and to compare them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.modeling.segmentation.inference import Window, needed_rows, strips


class WindowLogits(NamedTuple):
    """What the head gives for one window.

    Attributes:
        window: where it lies.
        logits: h x w x K, spanning the window and its padding.
        span: (height, width) of the window with its padding at the bottom and right.
    """

    window: Window
    logits: Tensor
    span: tuple[int, int]


class LabelMap:
    """Labels of one image, from one or several copies of it.

    Args:
        size: (height, width) of the labels.
        copies: how many copies there will be.
    """

    def __init__(self, size: tuple[int, int], copies: int = 1) -> None:
        self.size = size
        self.copies = copies
        self._probabilities: Tensor | None = None
        self._labels: Tensor | None = None

    def add(self, windows: Sequence[WindowLogits], size: tuple[int, int], flipped: bool = False) -> None:
        """Take in one copy.

        Args:
            windows: cover the copy.
            size: (height, width) of the copy.
            flipped: the copy is mirrored.
        """
        strips_of_logits = (
            (rows, logits.flip(1) if flipped else logits) for rows, logits in resized_strips(windows, size, self.size)
        )
        if self.copies == 1:
            self._labels = torch.cat([logits.argmax(-1) for _, logits in strips_of_logits])
            return
        if self._probabilities is None:
            first = windows[0].logits
            self._probabilities = torch.zeros(*self.size, first.shape[-1], device=first.device)
        for rows, logits in strips_of_logits:
            self._probabilities[rows] += logits.softmax(-1)

    def labels(self) -> Tensor:
        """H x W int64 class indices."""
        if self._labels is None:
            assert self._probabilities is not None, "no copy was added"
            self._labels = self._probabilities.argmax(-1)
        return self._labels


def resized_strips(
    windows: Sequence[WindowLogits], size: tuple[int, int], target: tuple[int, int]
) -> Iterator[tuple[slice, Tensor]]:
    """Window logits enlarged to their windows, averaged where windows overlap, and resized: rows, and rows x W x K."""
    (height, width), (out_height, out_width) = size, target
    num_classes = windows[0].logits.shape[-1]
    widest = max(out_width, width * -(-height // out_height))
    for start, stop in strips(out_height, num_classes * widest):
        top, bottom = needed_rows(start, stop, height, out_height)
        strip = averaged_rows(windows, width, top, bottom)
        if size != target:
            strip = _resized_rows(strip, top, size, target, start, stop)
        yield slice(start, stop), strip


def averaged_rows(windows: Sequence[WindowLogits], width: int, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of an image's logits, rows x width x K: the mean of the windows at each pixel."""
    inside = [w for w in windows if w.window.top < bottom and w.window.bottom > top]
    if len(inside) == 1:
        return _window_rows(inside[0], top, bottom)
    first = windows[0].logits
    total = torch.zeros(bottom - top, width, first.shape[-1], device=first.device)
    count = torch.zeros(bottom - top, width, 1, device=first.device)
    for w in inside:
        low, high = max(top, w.window.top), min(bottom, w.window.bottom)
        area = (slice(low - top, high - top), slice(w.window.left, w.window.right))
        total[area] += _window_rows(w, low, high)
        count[area] += 1
    return total.div_(count)


def _window_rows(w: WindowLogits, top: int, bottom: int) -> Tensor:
    """Rows of the image's pixels, of a window that has them all: rows x window width x K."""
    start, stop = top - w.window.top, bottom - w.window.top
    size = (int(w.logits.shape[0]), int(w.logits.shape[1]))
    return _resized_rows(w.logits, 0, size, w.span, start, stop)[:, : w.window.size[1]]


def _resized_rows(
    x: Tensor, first: int, size: tuple[int, int], target: tuple[int, int], start: int, stop: int
) -> Tensor:
    """Rows ``start`` to ``stop`` of a bilinear resize (``align_corners=False``) of a map from ``size`` to ``target``.

    Args:
        x: rows x width x K: those rows of the map from ``first`` on that are needed.
    """
    if size[0] == target[0]:
        rows = x[start - first : stop - first].float()
    else:
        position = torch.arange(start, stop, device=x.device, dtype=torch.float64)
        position = ((position + 0.5) * (size[0] / target[0]) - 0.5).clamp(min=0)
        above = position.long().clamp(max=size[0] - 1)
        below = (above + 1).clamp(max=size[0] - 1)
        weight = (position - above).float()[:, None, None]
        rows = torch.lerp(x[above - first].float(), x[below - first].float(), weight)
    if size[1] == target[1]:
        return rows
    planes = rows.permute(2, 0, 1)[None]  # in channels-last order
    wide = F.interpolate(planes, (stop - start, target[1]), mode="bilinear", align_corners=False)
    return wide[0].permute(1, 2, 0)
