"""The same tracker on each layer of one encoder, side by side: which layer is best for following objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pe_dense.modeling.backbone.features import EncoderFeatures, block_numbers, running
from pe_dense.modeling.tracking.frame_input import Frame, Masks
from pe_dense.modeling.tracking.mask_tracker import MaskTracker
from pe_dense.modeling.tracking.object_tracker import VideoObjectTracker


class TrackerProbe(MaskTracker):
    """A :class:`VideoObjectTracker` for each of several layers, of which the encoder sees a frame once.

    This is the tracking part of PE's layer analysis (arXiv 2504.13181, figure 8). Nothing is trained, and what a layer
    finds does not depend on which others are probed. Memory grows with the layers (each keeps the frames that its
    tracker would), not with the length of the video.

    Args:
        model: what is put on each layer, built on one layer of the encoder (any: it is replaced), which is taken out
            of it and frozen.
        layers: 0-based blocks, negative ones count from the last; ``None`` probes all.

    Attributes:
        layers: the blocks probed, ascending.

    Raises:
        ValueError: for a layer the encoder does not have, or a backbone that is no :class:`EncoderFeatures`.
    """

    backbone: EncoderFeatures

    def __init__(self, model: VideoObjectTracker, layers: Sequence[int] | None = None) -> None:
        neck = model.backbone
        if not isinstance(neck, EncoderFeatures):
            raise ValueError(f"the probed tracker's backbone is a {type(neck).__name__}: use EncoderFeatures")
        encoder = running(neck.backbone)
        self.layers = list(range(encoder.depth)) if layers is None else sorted(set(block_numbers(encoder, layers)))
        every = EncoderFeatures(encoder, self.layers, neck.norm, trainable_blocks=0)
        super().__init__(every, model.propagation, model.pixel_mean, model.pixel_std, len(self.layers))

    def init(self, frame: Frame, masks: Masks) -> dict[int, np.ndarray]:
        """By layer, what :meth:`VideoObjectTracker.init` returns."""
        return self._by_layer(self._init(frame, masks))

    def step(self, frame: Frame) -> dict[int, np.ndarray]:
        """By layer, what :meth:`VideoObjectTracker.step` returns."""
        return self._by_layer(self._step(frame))

    def add(self, masks: Masks) -> dict[int, np.ndarray]:
        """By layer, what :meth:`VideoObjectTracker.add` returns."""
        return self._by_layer(self._add(masks))

    def _by_layer(self, labels: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
        return dict(zip(self.layers, labels))
