"""Objects followed through a video by propagating their masks, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from pe_dense.modeling.tracking.frame_input import Frame, Masks, frame_size
from pe_dense.modeling.tracking.label_propagation import LabelPropagation
from pe_dense.modeling.tracking.mask_tracker import MaskTracker


class VideoObjectTracker(MaskTracker):
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

    def __init__(
        self,
        backbone: nn.Module,
        propagation: LabelPropagation,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    ) -> None:
        layers = getattr(backbone, "layers", [0])
        if len(layers) != 1:
            raise ValueError(f"layers {list(layers)}: masks are propagated by the features of one layer, name one")
        super().__init__(backbone, propagation, pixel_mean, pixel_std, layers=1)

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects, in the order of the channels of :meth:`scores` after the background."""
        return super().object_ids

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
        return self._init(frame, masks)[0]

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
        return self._step(frame)[0]

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
        return self._add(masks)[0]

    def track(self, frames: Iterable[Frame], masks: Mapping[int, Masks]) -> Iterator[np.ndarray]:
        """Labels of each frame of a video, one at a time.

        Args:
            frames: read one by one.
            masks: given masks by the number of their frame, from 0. Frames before the first one are background.
        """
        self.reset()
        for index, frame in enumerate(frames):
            given = masks.get(index)
            if self.is_empty:
                yield np.zeros(frame_size(frame), np.uint8) if given is None else self.init(frame, given)
                continue
            labels = self.step(frame)
            yield labels if given is None else self.add(given)

    def scores(self) -> Tensor:
        """Soft labels of the frame seen last: (K + 1) x H x W float32 in 0..1 at the frame's size, background first.

        Raises:
            RuntimeError: before :meth:`init`.
        """
        return self._memories[0].scores()
