"""The image classifier: a neck with one layer, and a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.modeling.backbone.dense_model import DenseModel, Sample, sample_name
from pe_dense.modeling.backbone.features import EncoderFeatures, LayerFeatures, covered_cells
from pe_dense.modeling.classification.pooling import Pooling, pooled


class ImageClassifier(DenseModel):
    """A class for every image.

    Args:
        backbone: neck with one layer.
        head: B x C to B x num_classes.
        num_classes: K.
        pooling: what the head sees, see :data:`Pooling`.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels.
        pixel_std: per channel, divides the result.
    """

    labels = ("label",)

    def __init__(
        self,
        backbone: EncoderFeatures,
        head: nn.Module,
        num_classes: int,
        pooling: Pooling = "cls",
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        self.head, self.num_classes, self.pooling = head, num_classes, pooling

    def blank_labels(self, size: tuple[int, int]) -> dict[str, Any]:
        """The first class."""
        return {"label": 0}

    def from_features(
        self, features: Sequence[LayerFeatures], sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses or predictions of a batch.

        Args:
            features: what the neck makes of the padded batch.
            sizes: valid (height, width) of each image; patches of padding are not averaged.
            samples: in training mode with ``label``, a class index.

        Returns:
            in training mode ``loss_classification``, the mean cross-entropy. In eval mode one ``{"classes": K
            probabilities}`` per sample.

        Raises:
            ValueError: if a training sample lacks its label, or it is no class of the model.
        """
        cells = [covered_cells(self.backbone, size) for size in sizes]
        logits = self.head(pooled(features[0], self.pooling, cells)).float()
        if self.training:
            labels = torch.tensor([self._label(sample) for sample in samples], device=logits.device)
            return {"loss_classification": F.cross_entropy(logits, labels)}
        return [{"classes": row} for row in logits.softmax(1)]

    def _label(self, sample: Sample) -> int:
        label = sample.get("label")
        if label is None:
            raise ValueError(f"{sample_name(sample)}: training needs 'label', a class index; use a ClassFolder")
        if not 0 <= int(label) < self.num_classes:
            raise ValueError(
                f"{sample_name(sample)}: its class index is {int(label)} but the model has num_classes="
                f"{self.num_classes}; set it to the data set's number of classes"
            )
        return int(label)
