"""What is kept of a video whose masks are propagated: tokens and soft labels of the frames that are looked back at."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pe_dense.modeling.tracking.frame_input import input_size
from pe_dense.modeling.tracking.label_propagation import LabelPropagation, propagate
from pe_dense.modeling.tracking.soft_labels import hard_labels, insert_masks, one_hot, upsample


@dataclass(eq=False)
class SeenFrame:
    """Tokens h x w x C and soft labels h x w x (K + 1) of a frame of a (height, width)."""

    tokens: Tensor
    soft: Tensor
    size: tuple[int, int]


class MaskMemory:
    """Masks passed on from frame to frame by the tokens of one layer.

    Frames with given masks stay, of the others the last ``settings.queue``.

    Args:
        settings: all numbers of the protocol.
        patch: pixels of the encoder's input per token.

    Attributes:
        ids: of the objects, in the order of the channels after the background.
        given: the frames with given masks.
        recent: the last of the others.
    """

    def __init__(self, settings: LabelPropagation, patch: int) -> None:
        self._settings, self._patch = settings, patch
        self.clear()

    def clear(self) -> None:
        """Forget the video."""
        self.ids: list[int] = []
        self.given: list[SeenFrame] = []
        self.recent: deque[SeenFrame] = deque(maxlen=self._settings.queue)
        self._current: SeenFrame | None = None

    @property
    def current(self) -> SeenFrame:
        """The frame seen last.

        Raises:
            RuntimeError: if there is none.
        """
        if self._current is None:
            raise RuntimeError("the tracker has seen no frame: call init(frame, masks) first")
        return self._current

    @property
    def is_empty(self) -> bool:
        """Whether no frame was seen."""
        return self._current is None

    def begin(self, tokens: Tensor, masks: Tensor) -> list[int]:
        """Begin a video.

        Args:
            tokens: h x w x C of its first frame, L2-normalised.
            masks: H x W int64 ids, 0 is background.

        Returns:
            See :meth:`add`.
        """
        self.clear()
        soft = one_hot(masks, [], _grid(tokens)).to(tokens.device)
        self._current = SeenFrame(tokens, soft, (int(masks.shape[0]), int(masks.shape[1])))
        return self._give(self._current, masks)

    def check(self, size: tuple[int, int]) -> None:
        """May a frame of this (height, width) be the next one?

        Raises:
            RuntimeError: if no frame was seen.
            ValueError: if the frames seen have another shape.
        """
        assert self.current
        first = self.given[0].size
        sizes = [input_size(s, self._settings, self._patch) for s in (size, first)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"a frame of {size[0]} x {size[1]} follows one of {first[0]} x {first[1]} (height x "
                f"width), of another shape: resize it, or begin a new video with init(frame, masks)"
            )

    def step(self, tokens: Tensor, size: tuple[int, int]) -> None:
        """Pass the labels on to the next frame.

        Args:
            tokens: h x w x C, L2-normalised.
            size: (height, width) of the frame.
        """
        seen = [*self.given, *self.recent]
        with torch.autocast(tokens.device.type, enabled=False):
            soft = propagate(tokens, [f.tokens for f in seen], [f.soft for f in seen], self._settings)
        self._current = SeenFrame(tokens, soft, size)
        self.recent.append(self._current)

    def add(self, masks: Tensor) -> list[int]:
        """Enter given masks into the frame seen last, which is kept from now on.

        Args:
            masks: H x W int64; known objects that are not in them stay as they are.

        Returns:
            Objects too small for the grid of tokens, which cannot be followed.
        """
        return self._give(self.current, masks)

    def labels(self) -> np.ndarray:
        """H x W ids of the frame seen last: uint8, or int32 once an id is above 255."""
        size = self.current.size
        shown = input_size(size, self._settings, self._patch)
        channels = hard_labels(self.current.soft, shown, size, self._settings)
        return self.numbers(torch.tensor([0, *self.ids])[channels.cpu()])

    def numbers(self, ids: Tensor) -> np.ndarray:
        """H x W ids as :meth:`labels` gives them."""
        dtype: type = np.uint8 if max(self.ids, default=0) <= 255 else np.int32
        labels: np.ndarray = ids.numpy().astype(dtype)
        return labels

    def scores(self) -> Tensor:
        """Soft labels of the frame seen last at its size: (K + 1) x H x W, background first."""
        return torch.stack([upsample(channel, self.current.size) for channel in self.current.soft.unbind(-1)])

    def _give(self, frame: SeenFrame, masks: Tensor) -> list[int]:
        present = torch.unique(masks[masks > 0]).tolist()
        new = [value for value in present if value not in self.ids]
        self.ids += new
        for seen in {id(f): f for f in (*self.given, *self.recent, frame)}.values():
            seen.soft = nn.functional.pad(seen.soft, (0, len(new)))
        given = one_hot(masks, self.ids, _grid(frame.tokens)).to(frame.tokens.device)
        channels = [self.ids.index(value) + 1 for value in present]
        frame.soft = insert_masks(frame.soft, given, channels)
        if frame not in self.given:
            self.given.append(frame)
            if frame in self.recent:
                self.recent.remove(frame)
        return [value for value, channel in zip(present, channels) if not given[..., channel].any()]


def _grid(tokens: Tensor) -> tuple[int, int]:
    return int(tokens.shape[0]), int(tokens.shape[1])
