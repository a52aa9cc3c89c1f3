"""What all trackers by label propagation do: a frame goes through the encoder once, each layer passes masks on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

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
from pe_dense.modeling.tracking.label_propagation import LabelPropagation, normalized_tokens
from pe_dense.modeling.tracking.mask_memory import MaskMemory

logger = logging.getLogger(__name__)


class MaskTracker(nn.Module):
    """Masks of a video's objects, followed by each layer of an encoder on its own. The base of trackers.

    Args:
        backbone: maps 1 x 3 x H x W normalised images to a list with an entry per layer that has a ``map``
            (1 x C x h x w), and has a ``stride``.
        propagation: all numbers of the protocol.
        pixel_mean, pixel_std: per channel (RGB), of 0..255 pixels.
        layers: how many entries the backbone gives.
    """

    _place: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        propagation: LabelPropagation,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        layers: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self._stride = int(backbone.stride)  # type: ignore[arg-type]  # of a module mypy takes any attribute for one
        self.propagation = propagation
        self.pixel_mean = tuple(float(v) for v in pixel_mean)
        self.pixel_std = tuple(float(v) for v in pixel_std)
        self.register_buffer("_place", torch.empty(0), persistent=False)  # a backbone may have no parameters
        self._video = ""
        self._memories = [MaskMemory(propagation, self._stride) for _ in range(layers)]

    @property
    def device(self) -> torch.device:
        """Where the tracker lies."""
        return self._place.device

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects, in the order in which they were given."""
        return list(self._memories[0].ids)

    @property
    def is_empty(self) -> bool:
        """Whether no frame was seen since the last :meth:`reset`."""
        return self._memories[0].is_empty

    def reset(self, video: str = "") -> None:
        """Forget the video.

        Args:
            video: name of the next one, for messages.
        """
        self._video = video
        for memory in self._memories:
            memory.clear()

    def preprocess(self, frame: Frame) -> Tensor:
        """A frame as the encoder sees it: 1 x 3 x H x W, resized by the protocol and normalised.

        Args:
            frame: see :data:`Frame`.
        """
        size = input_size(frame_size(frame), self.propagation, self._stride)
        return encoder_input(frame, size, self.propagation, self.pixel_mean, self.pixel_std, self.device)

    def _init(self, frame: Frame, masks: Masks) -> list[np.ndarray]:
        """Begin a video; the labels of each layer."""
        ids = object_masks(masks, frame_size(frame))
        self.eval()
        if not self.is_empty:
            self.reset()
        lost = [memory.begin(tokens, ids) for memory, tokens in zip(self._memories, self._tokens(frame))]
        self._warn_of(lost[0])
        return [memory.numbers(ids) for memory in self._memories]

    def _step(self, frame: Frame) -> list[np.ndarray]:
        """Follow the objects into the next frame; the labels of each layer."""
        self._memories[0].check(frame_size(frame))
        for memory, tokens in zip(self._memories, self._tokens(frame)):
            memory.step(tokens, frame_size(frame))
        return [memory.labels() for memory in self._memories]

    def _add(self, masks: Masks) -> list[np.ndarray]:
        """Enter masks into the frame seen last; its labels of each layer, with these masks in them."""
        ids = object_masks(masks, self._memories[0].current.size)
        given = torch.unique(ids[ids > 0])
        if len(given):
            lost = [memory.add(ids) for memory in self._memories]
            self._warn_of(lost[0])
        found = []
        for labels in (memory.labels() for memory in self._memories):
            labels[np.isin(labels, given.numpy())] = 0
            found.append(np.where(ids.numpy() > 0, ids.numpy(), labels).astype(labels.dtype))
        return found

    @torch.no_grad()
    def _tokens(self, frame: Frame) -> list[Tensor]:
        return [normalized_tokens(features.map[0]) for features in self.backbone(self.preprocess(frame))]

    def _warn_of(self, lost: Sequence[int]) -> None:
        if lost:
            height, width = self._memories[0].current.soft.shape[:2]
            logger.warning(
                "%s%s too small for the grid of %d x %d features and not followed; set model.propagation.short_side "
                "above %d for a finer grid",
                f"{self._video}: " if self._video else "",
                f"object {lost[0]} is" if len(lost) == 1 else f"objects {', '.join(map(str, lost))} are",
                height, width, self.propagation.short_side,
            )  # fmt: skip
