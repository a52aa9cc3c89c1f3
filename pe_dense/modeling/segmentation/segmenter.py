"""The semantic segmenter: backbone and head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from pe_dense.modeling.backbone.dense_model import DenseModel, Sample, original_sizes, sample_name
from pe_dense.modeling.backbone.features import covered_size
from pe_dense.modeling.segmentation.inference import SegInference, Stage, View, Window, pixels, resized
from pe_dense.modeling.segmentation.loss import IGNORE, sem_seg_loss
from pe_dense.modeling.segmentation.merging import LabelMap, WindowLogits


class SemanticSegmenter(DenseModel):
    """A class for every pixel.

    Args:
        backbone: neck with its encoder, see :class:`DenseModel`.
        head: maps the neck's output to logits B x K x h x w that cover the padded batch.
        num_classes: K, at most 255.
        class_weights: factor on the loss of each class; ``None`` weighs all alike.
        inference: what is shown to the model at test time; ``None``: each image whole.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels.
        pixel_std: per channel, divides the result.
        square_size: if set, batches are padded to at least this many pixels on both sides.

    Raises:
        ValueError: for a number of classes that labels or head do not have, or another number of class weights.
    """

    labels = ("sem_seg",)

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        num_classes: int,
        class_weights: Sequence[float] | None = None,
        inference: SegInference | None = None,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        square_size: int | None = None,
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std, square_size)
        if not 1 <= num_classes <= IGNORE:
            raise ValueError(f"num_classes {num_classes} must lie in 1..{IGNORE}: {IGNORE} marks pixels without label")
        if getattr(head, "num_classes", num_classes) != num_classes:
            raise ValueError(f"num_classes is {num_classes} but the head was built for {head.num_classes}")
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(f"class_weights has {len(class_weights)} entries, num_classes is {num_classes}")
        self.head = head
        self.num_classes = num_classes
        self.class_weights = None if class_weights is None else tuple(float(w) for w in class_weights)
        self.inference = inference or SegInference()

    @property
    def sees_images_once(self) -> bool:
        """Whether :class:`SegInference` asks for nothing else."""
        return replace(self.inference, batch_size=1) == SegInference(batch_size=1)

    def blank_labels(self, size: tuple[int, int]) -> dict[str, Any]:
        """No pixel with a class."""
        return {"sem_seg": torch.full(size, IGNORE, dtype=torch.int64)}

    def forward(self, samples: Sequence[Sample]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch; at test time as :class:`SegInference` says.

        Args:
            samples: see :meth:`from_features`.
        """
        return super().forward(samples) if self.training else self._predict(samples)

    def from_features(
        self, features: Any, sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses or, each image seen whole and once, predictions.

        Args:
            features: what the neck makes of the padded batch.
            sizes: valid (height, width) of each image.
            samples: in training mode with ``sem_seg``: int64, of the image's size, class indices or 255.

        Returns:
            in training mode ``loss_sem_seg``, the cross-entropy averaged over the labelled pixels of the batch (0 if
            there is none). In eval mode one ``{"sem_seg": H x W int64}`` per sample, of the original size.

        Raises:
            ValueError: if a training sample lacks labels, or they have another size or an unknown class.
        """
        logits = self.head(features)
        span = covered_size(self.backbone, features)
        if self.training:
            return {"loss_sem_seg": sem_seg_loss(logits, self._labels(samples, sizes, span), self.class_weights)}
        predictions = []
        for single, (height, width), size in zip(_by_pixel(logits), sizes, original_sizes(samples, sizes)):
            labels = LabelMap(size)
            labels.add([WindowLogits(Window(0, height, 0, width), single, span)], (height, width))
            predictions.append({"sem_seg": labels.labels()})
        return predictions

    def _labels(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]], span: tuple[int, int]) -> Tensor:
        """Labels of a batch on the model's device; padding has none."""
        batch = torch.full((len(samples), *span), IGNORE, dtype=torch.int64, device=self.device)
        for slot, sample, (height, width) in zip(batch, samples, sizes):
            slot[:height, :width].copy_(self._checked(sample, (height, width)), non_blocking=True)
        return batch

    def _checked(self, sample: Sample, size: tuple[int, int]) -> Tensor:
        """A training sample's labels."""
        labels: Tensor | None = sample.get("sem_seg")
        if labels is None:
            raise ValueError(
                f"{sample_name(sample)}: training needs 'sem_seg', which may be {IGNORE} everywhere; or call "
                f"model.eval()"
            )
        if tuple(labels.shape) != size:
            raise ValueError(
                f"{sample_name(sample)}: the labels are {tuple(labels.shape)} but the image is {size}; they must go "
                f"through the same transforms"
            )
        if labels.device.type == "cpu" and labels.numel():  # a GPU would have to wait
            unknown = (labels != IGNORE) & ((labels >= self.num_classes) | (labels < 0))
            if unknown.any():
                raise ValueError(
                    f"{sample_name(sample)}: a pixel has class index {int(labels[unknown][0])} but the model has "
                    f"num_classes={self.num_classes}; set it to the data set's number of classes, or mark such "
                    f"pixels {IGNORE}"
                )
        return labels

    @torch.no_grad()
    def _predict(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        images = [s["image"].to(self.device, non_blocking=True) for s in samples]
        sizes = [(int(i.shape[-2]), int(i.shape[-1])) for i in images]
        results = [LabelMap(size, self.inference.copies) for size in original_sizes(samples, sizes)]
        stages = self.inference.stages(sizes)
        missing = self._missing_passes(sum(len(stage.batches) for stage in stages))
        for stage in stages:
            self._run(stage, images, results)
        for _ in range(missing):
            self._logits([images[0][:, :1, :1]])
        return [{"sem_seg": result.labels()} for result in results]

    def _run(self, stage: Stage, images: Sequence[Tensor], results: Sequence[LabelMap]) -> None:
        """Predict one stage and add it to the results."""
        shown = {i: resized(images[i], size) for i, size in stage.sizes.items()}
        found: dict[tuple[int, bool], list[WindowLogits]] = {}
        for views in stage.batches:
            for view, single in zip(views, self._window_logits(shown, views)):
                found.setdefault((view.image, view.flipped), []).append(single)
        for (image, flipped), windows in found.items():
            results[image].add(windows, stage.sizes[image], flipped)

    def _window_logits(self, shown: dict[int, Tensor], views: Sequence[View]) -> list[WindowLogits]:
        logits, span = self._logits([pixels(shown[view.image], view) for view in views])
        return [WindowLogits(view.window, single, span) for view, single in zip(views, _by_pixel(logits))]

    def _logits(self, images: Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """Logits B x K x h x w of a batch, and the (height, width) in pixels that they span."""
        batch = self.preprocess([{"image": image} for image in images])
        features = self.backbone(batch.tensor)
        return self.head(features), covered_size(self.backbone, features)

    def _missing_passes(self, own: int) -> int:
        """How many forward passes fewer than another process this one makes, if the model is sharded over them: it
        needs all processes for each pass, but the number of windows depends on the images."""
        if not isinstance(self, FSDPModule):
            return 0
        most = torch.tensor(own, device=self.device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return int(most) - own


def _by_pixel(logits: Tensor) -> Tensor:
    """B x K x h x w to B x h x w x K."""
    return logits.permute(0, 2, 3, 1).contiguous()
