"""The regions of a whole batch in padded tensors, so that nothing loops over images or waits for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import batched_nms

from pe_dense.modeling.backbone.dense_model import sample_name
from pe_dense.structures import Instances


@dataclass
class Proposals:
    """Candidate regions of B images, P slots each.

    Attributes:
        boxes: B x P x 4 float32 XYXY in pixels of the padded batch; zeros in unused slots.
        logits: B x P objectness before the sigmoid, descending; -inf in unused slots.
        valid: B x P bool, False for unused slots.
    """

    boxes: Tensor
    logits: Tensor
    valid: Tensor


@dataclass
class Targets:
    """Ground truth of B images, G >= 1 slots each.

    Attributes:
        boxes: B x G x 4 float32 XYXY.
        classes: B x G int64.
        valid: B x G bool, False for padding and for crowd regions, which are never targets.
        masks: per image N x H x W bool in the order of the slots, or ``None`` if masks are not trained.
        identities: B x G int64, the track of each object, or ``None`` if identity is not trained.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    masks: list[Tensor] | None = None
    identities: Tensor | None = None

    @classmethod
    def from_instances(
        cls, instances: Sequence[Instances], with_masks: bool = False, with_identities: bool = False
    ) -> Targets:
        """Pad the objects of several images to a common number.

        Args:
            instances: one per image, all on one device, with ``classes`` and, if asked for, bitmap ``masks``.
            with_masks: whether masks are needed.
            with_identities: whether track ids are needed.

        Raises:
            ValueError: if classes, or masks or track ids that are needed, are missing.
        """
        masks = [_bitmaps(i) for i in instances] if with_masks else None
        boxes = _pad([i.boxes.float() for i in instances])
        classes = _pad([_require_classes(i) for i in instances])
        wanted = [torch.ones_like(i.boxes[:, 0], dtype=torch.bool) if i.crowd is None else ~i.crowd for i in instances]
        identities = _pad([_require_track_ids(i) for i in instances]) if with_identities else None
        return cls(boxes, classes, _pad(wanted), masks, identities)


@dataclass
class Samples:
    """Regions that the second stage is trained on: B images, S slots each, foreground first.

    Attributes:
        boxes: B x S x 4 float32 XYXY.
        classes: B x S int64: 0..K-1 for foreground, K for background, -1 for unused slots.
        objects: B x S int64, slot of the assigned object in :class:`Targets`.
        target_boxes: B x S x 4, boxes of the assigned objects (meaningless for background).
    """

    boxes: Tensor
    classes: Tensor
    objects: Tensor
    target_boxes: Tensor

    def foreground(self, num_classes: int) -> Tensor:
        """B x S bool: slots with an object."""
        return (self.classes >= 0) & (self.classes < num_classes)


def training_instances(sample: dict[str, Any], num_classes: int) -> Instances:
    """A training sample's objects.

    Raises:
        ValueError: if the sample has none set, or an object is of a class that the model does not have.
    """
    found: Instances | None = sample.get("instances")
    if found is None:
        raise ValueError(f"{sample_name(sample)}: training needs 'instances', which may be empty; or call model.eval()")
    if len(found) and found.classes is not None and found.classes.device.type == "cpu":  # a GPU would have to wait
        highest = int(found.classes.max())
        if highest >= num_classes:
            raise ValueError(
                f"{sample_name(sample)}: an object has class index {highest} but the model has num_classes="
                f"{num_classes}; set the model's num_classes to the data set's number of categories"
            )
    return found


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` (B x S) of B x N or B x N x C values."""
    if values.dim() == 2:
        return values.gather(1, index)
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def image_bounds(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """B x 4 tensor (width, height, width, height) from (height, width) sizes, copied without waiting."""
    return torch.tensor([[w, h, w, h] for h, w in sizes], dtype=torch.float32).to(device, non_blocking=True)


def clip_boxes(boxes: Tensor, bounds: Tensor) -> Tensor:
    """Move the corners of B x N x 4 boxes into their images.

    Args:
        boxes: B x N x 4 XYXY.
        bounds: B x 4 as from :func:`image_bounds`.
    """
    return torch.minimum(boxes.clamp(min=0), bounds[:, None])


def nonempty(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """Whether both sides of ... x 4 XYXY boxes are longer than ``min_size``; False also for NaN."""
    return (boxes[..., 2:] - boxes[..., :2] > min_size).all(dim=-1)


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression among boxes of the same group.

    In float64, because torchvision separates groups by shifting them far apart: in float32 the shift would round
    the boxes, and differently for each batch size.

    Args:
        boxes: R x 4 XYXY.
        scores: R.
        groups: R int64.
        iou_threshold: overlap above which the lower-scoring box is dropped.

    Returns:
        indices of the boxes that stay, in descending order of score.
    """
    return batched_nms(boxes.double(), scores.double(), groups, iou_threshold)


def _pad(rows: Sequence[Tensor]) -> Tensor:
    """Stack per-image rows, filled with zeros to the longest, and to one slot if all are empty."""
    padded = pad_sequence(list(rows), batch_first=True)
    return padded if padded.shape[1] else padded.new_zeros((len(padded), 1, *padded.shape[2:]))


def _require_classes(instances: Instances) -> Tensor:
    if instances.classes is None:
        raise ValueError("training instances have no classes; set Instances.classes to contiguous class indices")
    return instances.classes


def _require_track_ids(instances: Instances) -> Tensor:
    if instances.track_ids is None:
        raise ValueError("training instances have no track_ids; load frames of videos in which objects have identities")
    return instances.track_ids


def _bitmaps(instances: Instances) -> Tensor:
    if not isinstance(instances.masks, Tensor):
        raise ValueError(
            "the model has a mask head but a sample's instances have no bitmap masks (N x H x W bool); "
            "load them with the data set (dataloader.train.dataset.masks=true), or set with_masks=false in the model"
        )
    return instances.masks
