"""A tracker whose features learn from videos with masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from pe_dense.modeling.backbone.dense_model import Sample, sample_name
from pe_dense.modeling.tracking.follow import follow
from pe_dense.modeling.tracking.label_propagation import LabelPropagation, normalized_tokens
from pe_dense.modeling.tracking.object_tracker import VideoObjectTracker
from pe_dense.modeling.tracking.propagation_loss import PropagationLoss
from pe_dense.structures import ImageBatch


class LearnedTracker(VideoObjectTracker):
    """A :class:`VideoObjectTracker` that the engine can train and evaluate; it tracks like any other.

    Args:
        backbone: see :class:`VideoObjectTracker`; what of it trains is its own matter, see :class:`ProjectedFeatures`.
        propagation: all numbers of the protocol; of training its neighbourhood.
        loss: between the masks of a clip's first frame, propagated to each of the others, and theirs.
        pixel_mean, pixel_std: see :class:`VideoObjectTracker`.

    Raises:
        ValueError: if the backbone gives more than one layer.
    """

    labels = ("object_ids",)

    def __init__(
        self,
        backbone: nn.Module,
        propagation: LabelPropagation,
        loss: PropagationLoss,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    ) -> None:
        super().__init__(backbone, propagation, pixel_mean, pixel_std)
        self.loss = loss

    def forward(self, samples: Sequence[Sample]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses of clips, or the labels of the next frames of a video.

        Args:
            samples: frames, ``image`` (3 x H x W uint8 RGB). In training mode the frames of a clip stand together and
                have the same ``clip`` (any number) and size; each has ``object_ids`` (H x W integers, 255 is void). In
                evaluation mode they are in order of time; ``begins`` marks the first one of a video, ``object_ids``
                are the masks that are given, where there are any.

        Returns:
            In training mode ``loss_propagation``, the mean over all tokens that count, see :class:`PropagationLoss`.
            In evaluation mode one ``{"labels": H x W ids}`` per sample.

        Raises:
            ValueError: for a clip that is cut, or frames that do not fit together.
        """
        if self.training:
            return self._losses(samples)
        return [{"labels": self._track(sample)} for sample in samples]

    def _track(self, sample: Sample) -> Any:
        if sample.get("begins"):
            self.reset(str(sample.get("sequence", "")))
        given = sample.get("object_ids")
        try:
            return follow(self, sample["image"], None if given is None else given.cpu().numpy())
        except (TypeError, ValueError) as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error

    def _losses(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        clips = [list(clip) for _, clip in groupby(samples, key=lambda sample: sample.get("clip"))]
        for clip in clips:
            self._check(clip)
        tokens = self._clip_tokens(samples)
        with torch.autocast(self.device.type, enabled=False):
            parts = [part for clip in clips for part in self._clip_losses(clip, [next(tokens) for _ in clip])]
            losses, counts = (torch.cat(part) for part in zip(*parts))
            return {"loss_propagation": losses.sum() / counts.sum().clamp(min=1)}

    def _clip_losses(self, clip: Sequence[Sample], tokens: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Of all frames but the first, see :class:`PropagationLoss`."""
        labels = [self._token_labels(sample["object_ids"]) for sample in clip]
        return [
            self.loss(target, tokens[0], truth, labels[0], self.propagation)
            for target, truth in zip(tokens[1:], labels[1:])
        ]

    def _token_labels(self, ids: Tensor) -> Tensor:
        """h x w int64: the pixel at the centre of each whole patch, as given masks are brought to the grid too."""
        height, width = (side // self._stride * self._stride for side in ids.shape)
        step = slice(self._stride // 2, None, self._stride)
        return ids[:height, :width][step, step].to(self.device, torch.int64)

    def _clip_tokens(self, samples: Sequence[Sample]) -> Iterator[Tensor]:
        """Normalised tokens h x w x C of each frame, of the whole patches in it."""
        mean, std = (torch.tensor(v, device=self.device).view(-1, 1, 1) for v in (self.pixel_mean, self.pixel_std))
        sides = [[side // self._stride * self._stride for side in s["image"].shape[1:]] for s in samples]
        images = [
            (s["image"][:, :height, :width].to(self.device).float() - mean) / std
            for s, (height, width) in zip(samples, sides)
        ]
        features = self.backbone(ImageBatch.from_images(images, self._stride).tensor)[0].map
        for tokens, (height, width) in zip(features, sides):
            yield normalized_tokens(tokens[:, : height // self._stride, : width // self._stride])

    def _check(self, clip: Sequence[Sample]) -> None:
        name = sample_name(clip[0])
        if len(clip) < 2:
            raise ValueError(
                f"{name}: its clip has no second frame here: make train.accumulate a divisor of the clips of a batch"
            )
        for sample in clip:
            if sample.get("object_ids") is None:
                raise ValueError(f"{sample_name(sample)}: training needs 'object_ids', the masks of the frame")
            if sample["image"].shape != clip[0]["image"].shape:
                raise ValueError(f"{sample_name(sample)} and {name}: the frames of a clip must have the same size")
        if min(clip[0]["image"].shape[1:]) < self._stride:
            raise ValueError(f"{name}: the frame is smaller than a patch of {self._stride} pixels; enlarge it")
