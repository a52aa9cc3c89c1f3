"""What an exported file computes: pixels in, named maps out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pe_dense.deployment.errors import ExportError
from pe_dense.modeling.backbone import DenseModel, EncoderFeatures, LayerProbe
from pe_dense.modeling.backbone.features import block_numbers

Part = Literal["features", "predictions"]
"""``features``: what the neck gives; ``predictions``: what the whole model predicts."""

_FIXED_SHAPES = {"depth", "sem_seg", "label"}  # kinds of labels whose predictions have the same shape for every image


class ExportGraph(nn.Module):
    """A model as a function of one tensor, for :func:`export_model`. Is put into evaluation mode.

    Args:
        neck: a pyramid, or :class:`EncoderFeatures`: maps normalised images to features.
        model: whose predictions to give instead of the features; ``neck`` is its ``backbone``.
        pixel_mean, pixel_std: normalisation of 0..255 pixels, per channel (RGB).
        normalized: whether images come normalised; else this is part of the graph.

    Attributes:
        description: class of what is exported.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        neck: nn.Module,
        model: DenseModel | None = None,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        normalized: bool = False,
    ) -> None:
        super().__init__()
        self.neck, self.model, self.normalized = neck, model, normalized
        self.pixel_mean, self.pixel_std = list(pixel_mean), list(pixel_std)
        self.description = type(neck if model is None else model).__name__
        self.register_buffer("mean", torch.tensor(self.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.pixel_std).view(3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def of_model(cls, model: nn.Module, part: Part | None = None, normalized: bool = False) -> ExportGraph:
        """The graph of a model with its own normalisation.

        Args:
            model: of any task.
            part: ``None`` takes the predictions of models for depth, semantic segmentation and classification, and the
                features of others.
            normalized: see :class:`ExportGraph`.

        Raises:
            ExportError: for predictions whose shapes depend on the image, or that take several looks at it.
        """
        if not isinstance(model, DenseModel) or isinstance(model, LayerProbe):
            raise ExportError(
                f"a {type(model).__name__} cannot be exported: it is no model of one encoder, one neck and its heads"
            )
        if part is None:
            part = "predictions" if model.labels and set(model.labels) <= _FIXED_SHAPES else "features"
        if part == "predictions":
            _check_predictions(model)
        whole = model if part == "predictions" else None
        return cls(model.backbone, whole, model.pixel_mean, model.pixel_std, normalized)

    @property
    def size_divisibility(self) -> int:
        """What the sides of images must be multiples of."""
        return int(getattr(self.neck, "size_divisibility", 1))

    def to_precision(self, dtype: torch.dtype) -> None:
        """Let all but the normalisation compute in ``dtype``."""
        for part in (self.neck, self.model):
            if part is not None:
                part.to(dtype)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Maps of a batch.

        Args:
            image: B x 3 x H x W, RGB: uint8 pixels, or float32 if they are normalised.

        Returns:
            float32 features B x C x h x w, or predictions B x ..., by their names.
        """
        x = image if self.normalized else (image.float() - self.mean) / self.std
        features = self.neck(x.to(next(self.neck.parameters()).dtype))
        if self.model is None:
            found = self._named(features)
        else:
            height, width = (int(side) for side in image.shape[-2:])
            batch = self.model.from_features(features, [(height, width)] * len(image), [{}] * len(image))
            assert isinstance(batch, list)
            found = {key: torch.stack([single[key] for single in batch]) for key in batch[0]}
        return {name: grid.float() if grid.is_floating_point() else grid for name, grid in found.items()}

    def _named(self, features: Any) -> dict[str, Tensor]:
        if isinstance(features, dict) and all(isinstance(value, Tensor) for value in features.values()):
            return features
        if not isinstance(self.neck, EncoderFeatures):
            raise ExportError(
                f"the features of a {self.description} have no names: export a model with one neck, or its predictions"
            )
        found: dict[str, Tensor] = {}
        for block, layer in zip(block_numbers(self.neck.backbone, self.neck.layers), features):
            found[f"block{block}"] = layer.map
            if layer.cls is not None:
                found[f"block{block}_cls"] = layer.cls
        return found


def _check_predictions(model: DenseModel) -> None:
    """Can the predictions be exported?"""
    changing = [label for label in model.labels if label not in _FIXED_SHAPES]
    if changing or not model.labels:
        raise ExportError(
            f"the predictions of a {type(model).__name__} cannot be exported, their number depends on the image; "
            f"export its features"
        )
    if not model.sees_images_once:
        raise ExportError(
            f"this {type(model).__name__} looks at each image more than once, an exported file does so once: set "
            f"model.flip_test=false or model.inference=null"
        )
