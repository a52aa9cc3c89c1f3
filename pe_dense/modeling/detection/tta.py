"""Test-time augmentation of detectors: several looks at an image, one after the other, and one list of objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from pe_dense.layers.soft_nms import Decay
from pe_dense.modeling.detection.postprocess import suppress
from pe_dense.structures import Instances, RoiMasks

Predict = Callable[[Sequence[dict[str, Any]]], Any]


@dataclass(frozen=True)
class DetectionTTA:
    """Several views of each image, and how their detections become one list.

    The views are made from the image that the model is given, which should be the original one (no resize in the
    data pipeline), and run one after the other: of each only its detections stay, with masks as small maps, so that
    memory is that of a single pass. A single view is not merged: its detections are the model's own.

    Attributes:
        sizes: longer side of the image in each view, in pixels; smaller images are enlarged.
        flip: every size also mirrored.
        side_limits: per size (low, high): of it only objects whose box has low ** 2 <= area < high ** 2 count, in
            pixels of the original image; high ``None`` sets no limit. ``None`` keeps all.
        decay: how the score of a box falls that overlaps a better one of its class, see
            :func:`pe_dense.layers.soft_nms.soft_nms`; ``None`` drops the box.
        iou_threshold: overlap from which this happens.
        quad_scale: exponent of the decay "quad".
        sigma: of the decay "gaussian".
        topk: detections kept per image; ``None`` keeps all.
        vote_threshold: what a detection is made of: all boxes of its class with at least this IoU. Their masks are
            averaged, weighted with their scores.
        vote_boxes: average these boxes too (box voting, arXiv 1505.01749, section 4).

    Raises:
        ValueError: for values that make no sense.
    """

    sizes: Sequence[int]
    flip: bool = True
    side_limits: Sequence[Sequence[float | None]] | None = None
    decay: Decay | None = None
    iou_threshold: float = 0.5
    quad_scale: float = 0.5
    sigma: float = 0.5
    topk: int | None = 100
    vote_threshold: float = 0.7
    vote_boxes: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"DetectionTTA.sizes {list(self.sizes)}: give at least one, all at least 1 pixel")
        limits = self.side_limits
        if limits is not None and len(limits) != len(self.sizes):
            raise ValueError(f"DetectionTTA has {len(self.sizes)} sizes but {len(limits)} side_limits: give one a size")
        for pair in limits or ():
            if len(pair) != 2 or pair[0] is None or not 0 <= pair[0] < _high(pair):
                raise ValueError(
                    f"DetectionTTA.side_limits: {list(pair)} is not a range; give two ascending numbers, the second "
                    f"may be null"
                )
        for name in ("vote_threshold", "iou_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"DetectionTTA.{name} must lie in (0, 1], it is {getattr(self, name)}")
        if min(self.quad_scale, self.sigma) <= 0:
            raise ValueError(f"DetectionTTA: quad_scale {self.quad_scale} and sigma {self.sigma} must be positive")
        if self.topk is not None and self.topk < 1:
            raise ValueError(f"DetectionTTA.topk {self.topk}: keep at least 1 detection, or null for all")

    def __call__(self, predict: Predict, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detections of a batch.

        Args:
            predict: gives one ``{"instances": Instances}`` per sample, in the pixels of the original image.
            samples: with ``image``, and ``height`` and ``width`` of the original image (default: the image's own).

        Returns:
            one ``{"instances": Instances}`` per sample, in descending order of score.

        Raises:
            TypeError: if predicted masks are bitmaps of the image's size.
        """
        views = [(i, flipped) for i in range(len(self.sizes)) for flipped in ((False, True) if self.flip else (False,))]
        found: list[list[Instances]] = [[] for _ in samples]
        for number, flipped in views:
            outputs = predict([_view(s, self.sizes[number], flipped) for s in samples])
            for parts, output in zip(found, outputs):
                parts.append(self._within_limits(_mirrored(output["instances"], flipped), number))
        merged = [parts[0] if len(views) == 1 else self.merge(Instances.cat(parts)) for parts in found]
        return [{"instances": instances} for instances in merged]

    @torch.no_grad()
    def merge(self, found: Instances) -> Instances:
        """One list of objects from the detections of all views.

        Args:
            found: with classes and scores, of one image.

        Returns:
            the detections that remain, in descending order of score.
        """
        classes, scores = cast(Tensor, found.classes), cast(Tensor, found.scores)
        keep, decayed = suppress(
            found.boxes, scores, classes, self.decay, self.iou_threshold, self.quad_scale, self.sigma
        )
        kept = replace(found[keep[: self.topk]], scores=decayed[: self.topk])
        if not len(kept) or not (self.vote_boxes or isinstance(found.masks, RoiMasks)):
            return kept
        alike = box_iou(kept.boxes, found.boxes) >= self.vote_threshold
        alike &= cast(Tensor, kept.classes)[:, None] == classes
        row, voter = alike.nonzero(as_tuple=True)
        weight = scores[voter]
        if self.vote_boxes:
            boxes = _weighted_mean(found.boxes[voter], weight, row, kept.boxes)
            kept = replace(kept, boxes=boxes)
        if isinstance(found.masks, RoiMasks) and isinstance(kept.masks, RoiMasks):
            seen = _sampled(found.masks[voter], kept.boxes[row])
            probs = _weighted_mean(seen, weight, row, kept.masks.probs)
            kept.masks = replace(kept.masks, probs=probs, boxes=kept.boxes)
        return kept

    def _within_limits(self, found: Instances, number: int) -> Instances:
        if self.side_limits is None:
            return found
        low, high = self.side_limits[number][0] or 0.0, _high(self.side_limits[number])
        area = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(dim=1)
        return found[(area >= low**2) & (area < high**2)]


def _high(pair: Sequence[float | None]) -> float:
    return math.inf if pair[1] is None else pair[1]


def _view(sample: dict[str, Any], longer_side: int, flipped: bool) -> dict[str, Any]:
    """The sample at another size, mirrored or not; it says how large the original image was."""
    image: Tensor = sample["image"]
    height, width = (int(side) for side in image.shape[-2:])
    scale = longer_side / max(height, width)
    size = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    if size != (height, width):
        # antialias only where pixels are averaged: its kernel is the plain one elsewhere, but slower
        image = F.interpolate(image.float()[None], size, mode="bilinear", antialias=scale < 1)[0]
    original = {"height": int(sample.get("height", height)), "width": int(sample.get("width", width))}
    return {**sample, **original, "image": image.flip(-1) if flipped else image}


def _mirrored(found: Instances, flipped: bool) -> Instances:
    """Detections of a mirrored view where they lie in the image."""
    if isinstance(found.masks, Tensor):
        raise TypeError(
            "the model predicts masks as bitmaps of the whole image, which would have to be kept for every view: "
            "predict RoiMasks, or leave tta out"
        )
    if not flipped:
        return found
    width = found.image_size[1]
    x0, y0, x1, y1 = found.boxes.unbind(1)
    boxes = torch.stack([width - x1, y0, width - x0, y1], dim=1)
    masks = found.masks
    if masks is not None:
        masks = replace(masks, probs=masks.probs.flip(-1), boxes=boxes)
    return replace(found, boxes=boxes, masks=masks)


def _weighted_mean(values: Tensor, weight: Tensor, row: Tensor, like: Tensor) -> Tensor:
    """Means of the values (P x ...) of each row, weighted; as ``like``, whose own values stay where no weight is."""
    shape, weight = (-1, *[1] * (values.dim() - 1)), weight.to(like.dtype)
    total = like.new_zeros(len(like)).index_add(0, row, weight)
    summed = torch.zeros_like(like).index_add(0, row, values.to(like.dtype) * weight.view(shape))
    return torch.where(total.view(shape) > 0, summed / total.view(shape), like)


def _sampled(masks: RoiMasks, boxes: Tensor) -> Tensor:
    """What P masks, pasted into the image, say at the cells of M x M grids in other boxes (P x 4): P x M x M."""
    side = masks.probs.shape[-1]
    cells = (torch.arange(side, device=boxes.device, dtype=boxes.dtype) + 0.5) / side
    x0, y0, x1, y1 = boxes.unbind(1)
    a0, b0, a1, b1 = masks.boxes.unbind(1)
    x, y = (
        ((start + cells[:, None] * (stop - start) - low) / (high - low)).T * 2 - 1
        for start, stop, low, high in ((x0, x1, a0, a1), (y0, y1, b0, b1))
    )  # P x M each, -1 and 1 at the edges of the mask's own box
    grid = torch.stack([x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=3)
    grid = grid.nan_to_num(nan=0.0, posinf=2.0, neginf=-2.0).to(masks.probs.dtype)
    return F.grid_sample(masks.probs[:, None], grid, align_corners=False)[:, 0]
