"""Predictions for single images, from a checkpoint alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pe_dense.config import instantiate
from pe_dense.data import Transform, transform_image
from pe_dense.engine.checkpoint import load_checkpoint, load_weights
from pe_dense.engine.run import config_of_checkpoint, without_pretrained
from pe_dense.engine.settings import pick_device
from pe_dense.engine.trainer import autocast
from pe_dense.modeling.depth.estimator import DepthEstimator, DepthOutput
from pe_dense.prediction.images import ImageLike, as_tensor
from pe_dense.structures import Categories, Instances

_MAX_DEPTH = 255.0  # of models that do not tell


class Predictor:
    """Image in, objects out: ``Predictor.from_checkpoint(path)("street.jpg").boxes``.

    For depth, semantic labels, or several of them: ``predictor.predict_outputs(["street.jpg"])[0]["depth"]``.

    Args:
        model: for any task; is put on ``device`` and into evaluation mode.
        transforms: what the model's test images go through.
        categories: names of the model's classes, None if unknown.
        device: see :func:`pick_device`.
        score_threshold: objects below it are left out.
        precision: "fp32" or "bf16".
        label_names: names of the classes of ``sem_seg``; None takes those of ``categories``, unless the model finds
            objects too.
    """

    def __init__(
        self,
        model: nn.Module,
        transforms: Sequence[Transform] = (),
        categories: Categories | None = None,
        device: torch.device | str = "auto",
        score_threshold: float = 0.0,
        precision: str = "fp32",
        label_names: Sequence[str] | None = None,
    ) -> None:
        self.device = pick_device(str(device))
        self.model = model.to(self.device).eval()
        self.transforms = list(transforms)
        self.categories = categories
        self.score_threshold = score_threshold
        self.precision = precision
        self.label_names = label_names

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, device: torch.device | str = "auto", score_threshold: float = 0.0
    ) -> Predictor:
        """Model, test transforms and class names from a checkpoint; averaged weights when it has them.

        Args:
            path: a checkpoint, or the folder of a run (its ``best.safetensors``, else the newest).
            device: see :func:`pick_device`.
            score_threshold: objects below it are left out.

        Raises:
            FileNotFoundError: if there is no such checkpoint.
            CheckpointError: if it is not a checkpoint of this project.
        """
        saved = load_checkpoint(path)
        cfg = without_pretrained(config_of_checkpoint(saved))
        model = instantiate(cfg.model)
        load_weights(model, saved)
        categories = Categories.from_json(saved.categories) if saved.categories is not None else None
        transforms = instantiate(cfg.dataloader.test.transforms)
        precision = cfg.train.get("precision", "fp32")
        return cls(model, transforms, categories, device, score_threshold, precision, saved.pixel_classes)

    @property
    def depth_kind(self) -> DepthOutput:
        """What the model's depth is; "metric" for a model that is none of this project's."""
        estimator = self._depth_estimator()
        return "metric" if estimator is None else estimator.output

    @property
    def max_depth(self) -> float | None:
        """Metres beyond which the model predicts nothing; None if its depth has no unit."""
        estimator = self._depth_estimator()
        if estimator is None:
            return _MAX_DEPTH
        return estimator.max_depth if estimator.output == "metric" else None

    def _depth_estimator(self) -> DepthEstimator | None:
        return next((module for module in self.model.modules() if isinstance(module, DepthEstimator)), None)

    def __call__(self, image: ImageLike) -> Instances:
        """Objects of one image, on the CPU, in the image's own pixels.

        A PIL image is treated like a file: turned as its EXIF orientation says, and converted to RGB.

        Raises:
            TypeError: if an array, tensor or PIL image has another shape or type than :data:`ImageLike` says.
            FileNotFoundError, DataError: if a file is missing or cannot be decoded.
        """
        return self.predict_batch([image])[0]

    @torch.no_grad()
    def predict_outputs(self, images: Sequence[ImageLike]) -> list[dict[str, Any]]:
        """All that the model returns for several images in one forward pass, on the CPU.

        Args:
            images: of any sizes.

        Returns:
            For each image what its model predicts, at the image's own size: ``instances`` (all of them, whatever their
            score), ``depth`` (H x W float32), ``sem_seg`` (H x W int64 class indices).
        """
        samples = [self._sample(image) for image in images]
        if not samples:
            return []
        with autocast(self.device, self.precision):
            outputs = self.model(samples)
        return [{key: value.to("cpu") for key, value in output.items()} for output in outputs]

    def predict_batch(self, images: Sequence[ImageLike], score_threshold: float | None = None) -> list[Instances]:
        """Objects of several images in one forward pass; see :meth:`__call__`.

        Args:
            images: of any sizes.
            score_threshold: objects below it are left out; None is the predictor's own.

        Raises:
            ValueError: if the model finds no objects but predicts something else.
        """
        outputs = self.predict_outputs(images)
        for output in outputs:
            if "instances" not in output:
                raise ValueError(f"the model predicts {', '.join(output)} and no objects; call predict_outputs")
        found: list[Instances] = [output["instances"] for output in outputs]
        threshold = self.score_threshold if score_threshold is None else score_threshold
        return [f if f.scores is None else f[f.scores >= threshold] for f in found]

    def _sample(self, image: ImageLike) -> dict[str, Any]:
        tensor = as_tensor(image)
        height, width = (int(side) for side in tensor.shape[1:])
        name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else ""
        pixels = transform_image(tensor, self.transforms).to(self.device)
        return {"image": pixels, "height": height, "width": width, "image_id": 0, "file_name": name}
