"""What the models of all tasks share: pixels in, one encoder with its neck, losses or predictions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pe_dense.structures import ImageBatch

Sample = dict[str, Any]


class DenseModel(nn.Module, ABC):
    """A neck on the encoder, and a head that a subclass adds.

    Args:
        backbone: neck with its encoder (:class:`FeaturePyramid`, :class:`EncoderFeatures`): maps B x 3 x H x W
            normalised images to features and has a ``size_divisibility`` that H and W must be multiples of.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels.
        pixel_std: per channel, divides the result.
        square_size: if set, batches are padded to at least this many pixels on both sides.

    Attributes:
        labels: keys of what training samples carry for it; empty: not known.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self,
        backbone: nn.Module,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        square_size: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.square_size = square_size
        # numbers rather than buffers, so that a model built on the meta device keeps them
        self.pixel_mean = tuple(float(v) for v in pixel_mean)
        self.pixel_std = tuple(float(v) for v in pixel_std)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.parameters()).device

    def forward(self, samples: Sequence[Sample]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch: see :meth:`from_features`.

        Args:
            samples: dicts with ``image`` (3 x H x W uint8, RGB), in training mode the task's labels (of the image's
                size), in eval mode ``height`` and ``width`` of the original image (default: the image's own).
        """
        images = self.preprocess(samples)
        return self.from_features(self.backbone(images.tensor), images.sizes, samples)

    @abstractmethod
    def from_features(
        self, features: Any, sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses in training mode, else one dict of predictions per sample, in the original image's coordinates.

        Args:
            features: what the neck makes of the padded batch.
            sizes: valid (height, width) of each image in it.
            samples: as given to :meth:`forward`.
        """

    @property
    def sees_images_once(self) -> bool:
        """Whether a prediction takes one look at each image, so that :meth:`from_features` gives all of it."""
        return True

    def blank_labels(self, size: tuple[int, int]) -> dict[str, Any]:
        """:attr:`labels` of an image of a (height, width) about which nothing is known."""
        raise NotImplementedError(f"{type(self).__name__} has no labels that tell nothing")

    def preprocess(self, samples: Sequence[Sample]) -> ImageBatch:
        """Move the images to the model's device, normalise them and pad them with zeros."""
        device = self.device
        mean, std = (
            torch.tensor(v).view(-1, 1, 1).to(device, non_blocking=True) for v in (self.pixel_mean, self.pixel_std)
        )
        images = [(s["image"].to(device, non_blocking=True).float() - mean) / std for s in samples]
        divisor = int(getattr(self.backbone, "size_divisibility", 1))
        return ImageBatch.from_images(images, divisor=divisor, square=self.square_size)


def original_sizes(samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(height, width) of the original images; where a sample does not tell, that of its image."""
    return [(int(s.get("height", h)), int(s.get("width", w))) for s, (h, w) in zip(samples, sizes)]


def sample_name(sample: Sample) -> str:
    """What to call a sample in an error."""
    return str(sample.get("file_name", sample.get("image_id", "a sample")))
