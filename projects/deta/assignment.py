"""Which predictions learn which object: by overlap, several for each object, or by a matching, one for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from pe_dense.modeling.detection import Matcher
from pe_dense.modeling.detection.sampling import subsample_labels
from projects.deta.predictions import Predictions


@dataclass
class Objects:
    """Ground truth of B images, G >= 1 slots each.

    Attributes:
        boxes: B x G x 4 (centre x, y, width, height) in fractions of the image.
        classes: B x G int64, column of the logits.
        valid: B x G bool, False for slots without an object.
        masks: per image n x H x W bool in the order of the slots; ``None`` if masks are not trained.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    masks: list[Tensor] | None = None


@dataclass
class Assignment:
    """Predictions of each object, at most k.

    Attributes:
        index: D x B x G x k int64 into the predictions; D is 1 if all layers share the assignment.
        valid: D x B x G x k bool, False for unused slots.
    """

    index: Tensor
    valid: Tensor


class Assigner(Protocol):
    """Assigns predictions to objects."""

    def __call__(self, predictions: Predictions, objects: Objects) -> Assignment:
        """Assign."""


class OverlapAssigner:
    """As in DETA (arXiv 2212.06137, section 3): the boxes that overlap an object most before they are refined.

    Boxes are labelled by IoU, a random subset is drawn, and an object with n positive boxes in it gets the
    ``min(n, max_per_object)`` boxes with the highest IoU, whether drawn or not. All layers share the assignment.

    Args:
        matcher: labels boxes by IoU.
        num_samples: boxes drawn per image.
        positive_fraction: largest share of positive boxes among these.
        max_per_object: k.
    """

    def __init__(
        self, matcher: Matcher, num_samples: int = 256, positive_fraction: float = 0.5, max_per_object: int = 4
    ) -> None:
        self.matcher = matcher
        self.num_samples, self.positive_fraction = num_samples, positive_fraction
        self.max_per_object = max_per_object

    @classmethod
    def first_stage(cls, num_samples: int = 256) -> OverlapAssigner:
        """DETA's numbers for anchors: positive from 0.7, negative below 0.3, and the best anchors of each object."""
        return cls(Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True), num_samples, 0.5)

    @classmethod
    def second_stage(cls, num_queries: int = 900) -> OverlapAssigner:
        """DETA's numbers for queries: positive from 0.6, and the best queries of each object."""
        return cls(Matcher([0.6], [0, 1], allow_low_quality_matches=True), num_queries, 0.25)

    @torch.no_grad()
    def __call__(self, predictions: Predictions, objects: Objects) -> Assignment:
        """Assign by ``predictions.reference``."""
        boxes = box_convert(predictions.reference, "cxcywh", "xyxy")
        iou = box_iou(box_convert(objects.boxes, "cxcywh", "xyxy"), boxes)  # B x G x N
        iou = iou.masked_fill(~objects.valid[..., None], -1.0)
        matched, labels = self.matcher(iou)
        drawn, used = subsample_labels(labels, self.num_samples, self.positive_fraction)
        positive = used & (labels.gather(1, drawn) > 0)
        count = torch.zeros(objects.valid.shape, dtype=torch.int64, device=iou.device)
        count.scatter_add_(1, matched.gather(1, drawn), positive.long())
        index = iou.topk(min(self.max_per_object, iou.shape[-1]), dim=-1).indices
        slot = torch.arange(index.shape[-1], device=iou.device)
        valid = (slot < count[..., None]) & objects.valid[..., None]
        return Assignment(index[None], valid[None])


class HungarianAssigner:
    """As in DETR: the one-to-one matching of least cost, for each layer its own (Deformable DETR's costs).

    Args:
        class_cost: weight of the focal classification cost.
        box_cost: weight of the L1 distance of the boxes.
        giou_cost: weight of the generalised IoU.
        alpha, gamma: of the focal loss.
    """

    def __init__(
        self,
        class_cost: float = 2.0,
        box_cost: float = 5.0,
        giou_cost: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        self.class_cost, self.box_cost, self.giou_cost = class_cost, box_cost, giou_cost
        self.alpha, self.gamma = alpha, gamma

    @torch.no_grad()
    def costs(self, predictions: Predictions, objects: Objects) -> Tensor:
        """D x B x N x G cost of every pair."""
        p = predictions.logits.float().sigmoid()
        negative = (1 - self.alpha) * p**self.gamma * -(1 - p + 1e-8).log()
        positive = self.alpha * (1 - p) ** self.gamma * -(p + 1e-8).log()
        columns = objects.classes[None, :, None].expand(*p.shape[:3], -1)
        by_class = (positive - negative).gather(-1, columns)
        boxes = predictions.boxes.float()
        by_box = torch.cdist(boxes, objects.boxes.expand(len(boxes), -1, -1, -1), p=1)
        corners = box_convert(boxes, "cxcywh", "xyxy")
        truth = box_convert(objects.boxes, "cxcywh", "xyxy").expand(len(boxes), -1, -1, -1)
        by_giou = -generalized_box_iou(corners, truth)
        return self.class_cost * by_class + self.box_cost * by_box + self.giou_cost * by_giou

    def __call__(self, predictions: Predictions, objects: Objects) -> Assignment:
        """Match ``predictions`` of every layer and image; more objects than predictions leave some without any."""
        costs = self.costs(predictions, objects).nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6).cpu()
        valid = objects.valid.cpu()
        index = torch.zeros(*costs.shape[:2], valid.shape[1], 1, dtype=torch.int64)
        used = torch.zeros_like(index, dtype=torch.bool)
        for layer, of_layer in enumerate(costs):
            for image, cost in enumerate(of_layer):
                slots = valid[image].nonzero()[:, 0]
                rows, columns = linear_sum_assignment(cost[:, slots].numpy())
                taken = slots[torch.from_numpy(columns)]
                index[layer, image, taken, 0] = torch.from_numpy(rows)
                used[layer, image, taken, 0] = True
        device = objects.boxes.device
        return Assignment(index.to(device), used.to(device))


def make_objects(
    boxes: Tensor, classes: Tensor, valid: Tensor, bounds: Tensor, columns: Sequence[int] | None = None
) -> Objects:
    """Ground truth as the criterion takes it; boxes without area are left out.

    Args:
        boxes: B x G x 4 XYXY pixels.
        classes: B x G int64 contiguous class index.
        valid: B x G bool.
        bounds: B x 4 (width, height, width, height) of the images.
        columns: column of the logits of every class; ``None`` takes the class index.
    """
    fractions = box_convert(boxes / bounds[:, None], "xyxy", "cxcywh")
    valid = valid & (fractions[..., 2:] > 0).all(-1) & fractions.isfinite().all(-1)
    fractions = torch.where(valid[..., None], fractions, 0.5)
    if columns is not None:
        classes = torch.tensor(list(columns)).to(classes.device, non_blocking=True)[classes]
    return Objects(fractions, classes, valid)
