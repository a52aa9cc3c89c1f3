"""Objects followed through a video by propagating their masks, frame by frame."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pe_dense.modeling.tracking.frame_input import (
    Frame,
    Masks,
    encoder_input,
    frame_size,
    input_size,
    object_masks,
)
from pe_dense.modeling.tracking.label_propagation import LabelPropagation, normalized_tokens, propagate
from pe_dense.modeling.tracking.soft_labels import hard_labels, insert_masks, one_hot, upsample

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _SeenFrame:
    """Tokens h x w x C and soft labels h x w x (K + 1) of a frame of a (height, width)."""

    tokens: Tensor
    soft: Tensor
    size: tuple[int, int]


class VideoObjectTracker(nn.Module):
    """Video object segmentation without training: masks of the first frame in, masks of every further frame out.

    ``tracker.init(frame, masks)``, then ``tracker.step(frame)`` for one frame after the other. Objects that appear
    later, and better masks of known ones, go to :meth:`add` after the step of their frame. Frames with given masks
    stay in memory, of the others the last ``propagation.queue``: memory does not depend on the length of the video.
    An object that vanishes keeps its id, and is found again by the frames that still show it; see
    ``LabelPropagation.min_score`` about its last traces.

    Args:
        backbone: an :class:`EncoderFeatures` with one layer, or any module that maps 1 x 3 x H x W normalised images
            to a list with one entry that has a ``map`` (1 x C x h x w), and has a ``stride``.
        propagation: all numbers of the protocol.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels: what the encoder was trained with.
        pixel_std: per channel, divides the result.

    Raises:
        ValueError: if the backbone gives more than one layer.
    """

    _place: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        propagation: LabelPropagation,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    ) -> None:
        super().__init__()
        layers = getattr(backbone, "layers", [0])
        if len(layers) != 1:
            raise ValueError(f"layers {list(layers)}: masks are propagated by the features of one layer, name one")
        self.backbone = backbone
        self._stride = int(backbone.stride)  # type: ignore[arg-type]  # of a module mypy takes any attribute for one
        self.propagation = propagation
        self.pixel_mean = tuple(float(v) for v in pixel_mean)
        self.pixel_std = tuple(float(v) for v in pixel_std)
        self.register_buffer("_place", torch.empty(0), persistent=False)  # a backbone may have no parameters
        self.reset()

    @property
    def device(self) -> torch.device:
        """Where the tracker lies."""
        return self._place.device

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects, in the order of the channels of :meth:`scores` after the background."""
        return list(self._ids)

    def reset(self) -> None:
        """Forget the video."""
        self._ids: list[int] = []
        self._given: list[_SeenFrame] = []
        self._recent: deque[_SeenFrame] = deque(maxlen=self.propagation.queue)
        self._current: _SeenFrame | None = None

    def init(self, frame: Frame, masks: Masks) -> np.ndarray:
        """Begin a video, forgetting the one before; the tracker goes into evaluation mode.

        Args:
            frame: see :data:`Frame`; of any size.
            masks: see :data:`Masks`; ids may have gaps. Without any object all further pixels are background, until
                :meth:`add` gives one.

        Returns:
            The masks, as :meth:`step` returns labels.

        Raises:
            TypeError, ValueError: if frame or masks are not what they should be, or differ in size.
        """
        size = frame_size(frame)
        ids = object_masks(masks, size)
        self.eval()
        self.reset()
        tokens = self._tokens(frame)
        self._current = _SeenFrame(tokens, one_hot(ids, [], self._grid(tokens)).to(self.device), size)
        self._give(self._current, ids)
        return self._numbers(ids)

    def step(self, frame: Frame) -> np.ndarray:
        """Follow the objects into the next frame.

        Args:
            frame: see :data:`Frame`. It may have another size than the first if its shape is the same, so that both
                are resized to the same input of the encoder.

        Returns:
            H x W ids of the objects, 0 is background: uint8, or int32 once an id is above 255.

        Raises:
            RuntimeError: before :meth:`init`.
            TypeError: if it is no frame.
            ValueError: if its shape is another one.
        """
        if self._current is None:
            raise RuntimeError("the tracker has seen no frame: call init(frame, masks) first")
        size, first = frame_size(frame), self._given[0]
        sizes = [input_size(s, self.propagation, self._stride) for s in (size, first.size)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"a frame of {size[0]} x {size[1]} follows one of {first.size[0]} x {first.size[1]} (height x width), "
                f"of another shape: resize it, or begin a new video with init(frame, masks)"
            )
        seen = [*self._given, *self._recent]
        tokens = self._tokens(frame)
        with torch.autocast(self.device.type, enabled=False):
            soft = propagate(tokens, [f.tokens for f in seen], [f.soft for f in seen], self.propagation)
        self._current = _SeenFrame(tokens, soft, size)
        self._recent.append(self._current)
        return self._labels()

    def add(self, masks: Masks) -> np.ndarray:
        """Objects that appear in the frame seen last, or better masks of known ones.

        The frame stays in memory from now on, like the first.

        Args:
            masks: see :data:`Masks`, of that frame. Known objects that are not in them stay as they are.

        Returns:
            The frame's labels as of :meth:`step`, with these masks in them.

        Raises:
            RuntimeError: before :meth:`init`.
            TypeError, ValueError: if the masks are not what they should be.
        """
        if self._current is None:
            raise RuntimeError("the tracker has seen no frame: call init(frame, masks) first")
        ids = object_masks(masks, self._current.size)
        given = torch.unique(ids[ids > 0])
        if len(given):
            self._give(self._current, ids)
        labels = self._labels()
        labels[np.isin(labels, given.numpy())] = 0
        return np.where(ids.numpy() > 0, ids.numpy(), labels).astype(labels.dtype)

    def track(self, frames: Iterable[Frame], masks: Mapping[int, Masks]) -> Iterator[np.ndarray]:
        """Labels of each frame of a video, one at a time.

        Args:
            frames: read one by one.
            masks: given masks by the number of their frame, from 0. Frames before the first one are background.
        """
        self.reset()
        for index, frame in enumerate(frames):
            given = masks.get(index)
            if self._current is None:
                yield np.zeros(frame_size(frame), np.uint8) if given is None else self.init(frame, given)
                continue
            labels = self.step(frame)
            yield labels if given is None else self.add(given)

    def scores(self) -> Tensor:
        """Soft labels of the frame seen last: (K + 1) x H x W float32 in 0..1 at the frame's size, background first.

        Raises:
            RuntimeError: before :meth:`init`.
        """
        if self._current is None:
            raise RuntimeError("the tracker has seen no frame: call init(frame, masks) first")
        return torch.stack([upsample(channel, self._current.size) for channel in self._current.soft.unbind(-1)])

    def _give(self, frame: _SeenFrame, masks: Tensor) -> None:
        """Enter given masks into a frame and keep it."""
        present = torch.unique(masks[masks > 0]).tolist()
        new = [value for value in present if value not in self._ids]
        self._ids += new
        for seen in {id(f): f for f in (*self._given, *self._recent, frame)}.values():
            seen.soft = nn.functional.pad(seen.soft, (0, len(new)))
        given = one_hot(masks, self._ids, self._grid(frame.tokens)).to(self.device)
        channels = [self._ids.index(value) + 1 for value in present]
        frame.soft = insert_masks(frame.soft, given, channels)
        lost = [value for value, channel in zip(present, channels) if not given[..., channel].any()]
        if lost:
            height, width = self._grid(frame.tokens)
            logger.warning(
                "too small for the grid of %d x %d features, not followed: object %s; a larger short_side has more",
                height, width, ", ".join(map(str, lost)),
            )  # fmt: skip
        if frame not in self._given:
            self._given.append(frame)
            if frame in self._recent:
                self._recent.remove(frame)

    @torch.no_grad()
    def _tokens(self, frame: Frame) -> Tensor:
        size = input_size(frame_size(frame), self.propagation, self._stride)
        image = encoder_input(frame, size, self.propagation, self.pixel_mean, self.pixel_std, self.device)
        return normalized_tokens(self.backbone(image)[0].map[0])

    def _labels(self) -> np.ndarray:
        """Labels of the frame seen last."""
        assert self._current is not None
        size = self._current.size
        shown = input_size(size, self.propagation, self._stride)
        channels = hard_labels(self._current.soft, shown, size, self.propagation)
        return self._numbers(torch.tensor([0, *self._ids])[channels.cpu()])

    def _numbers(self, ids: Tensor) -> np.ndarray:
        dtype: type = np.uint8 if max(self._ids, default=0) <= 255 else np.int32
        labels: np.ndarray = ids.numpy().astype(dtype)
        return labels

    @staticmethod
    def _grid(tokens: Tensor) -> tuple[int, int]:
        return int(tokens.shape[0]), int(tokens.shape[1])
