"""Which ground-truth object a box belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

_IOU_ELEMENTS = 1 << 25  # IoU values computed at a time: bounds memory for many images with many objects


class Matcher:
    """Assign boxes to ground truth by IoU and label them (detectron2's ``Matcher``).

    Args:
        thresholds: ascending IoU limits that split [0, 1] into ``len(labels)`` ranges, lower limit included.
        labels: label of each range: 1 foreground, 0 background, -1 ignored.
        allow_low_quality_matches: also label 1 every box that no other box beats for some object
            (Faster R-CNN, section 3.1.2, case i), as long as the two overlap at all. The box stays assigned
            to the object it overlaps most.
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (0.3, 0.7),
        labels: Sequence[int] = (0, -1, 1),
        allow_low_quality_matches: bool = False,
    ) -> None:
        if len(labels) != len(thresholds) + 1 or list(thresholds) != sorted(thresholds):
            raise ValueError(
                f"Matcher needs ascending thresholds and one label more, got {list(thresholds)} and {list(labels)}"
            )
        if not set(labels) <= {-1, 0, 1}:
            raise ValueError(f"Matcher labels are -1 (ignore), 0 (background) and 1 (foreground), got {list(labels)}")
        self.thresholds = tuple(thresholds)
        self.labels = tuple(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, iou: Tensor) -> tuple[Tensor, Tensor]:
        """Match by a matrix of IoUs.

        Args:
            iou: ... x G x N; rows that are no object hold -1. G is at least 1.

        Returns:
            index of the best object, ... x N int64 (0 if there is none), and labels, ... x N int8.
        """
        best, index = iou.max(dim=-2)
        labels = torch.full_like(index, self.labels[0], dtype=torch.int8)
        for threshold, label in zip(self.thresholds, self.labels[1:]):
            labels.masked_fill_(best >= threshold, label)
        if self.allow_low_quality_matches:
            best_per_object = iou.amax(dim=-1, keepdim=True)
            labels.masked_fill_(((iou == best_per_object) & (iou > 0)).any(dim=-2), 1)
        return index, labels

    @torch.no_grad()
    def match_boxes(self, objects: Tensor, valid: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Match the boxes of a batch, a few images at a time.

        Args:
            objects: B x G x 4 ground-truth boxes (XYXY), G at least 1.
            valid: B x G, False for padding; objects without area count as padding too.
            boxes: B x N x 4, or N x 4 if all images share them.

        Returns:
            as :meth:`__call__`: B x N indices and labels.
        """
        boxes = boxes.expand(len(objects), -1, -1)
        step = max(1, _IOU_ELEMENTS // max(1, objects.shape[1] * boxes.shape[1]))
        valid = valid & (objects[..., 2:] > objects[..., :2]).all(dim=-1)
        chunks = zip(objects.split(step), valid.split(step), boxes.split(step))
        parts = [self(box_iou(o, b).masked_fill_(~v[..., None], -1.0)) for o, v, b in chunks]
        return torch.cat([index for index, _ in parts]), torch.cat([labels for _, labels in parts])
