"""Losses of classes, L1 and generalised IoU of assigned predictions, for all images and layers at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss

from projects.deta.assignment import Assignment, Objects
from projects.deta.classification import ClassLoss, Focal
from projects.deta.predictions import Predictions


def class_targets(assignment: Assignment, classes: Tensor, logits: Tensor) -> Tensor:
    """One-hot targets, zeros for predictions without an object: as ``logits`` (D x B x N x C).

    Args:
        assignment: of the predictions; one that several objects share learns the last object's class.
        classes: B x G int64.
        logits: for the size.
    """
    owner = _owners(assignment, logits)
    column = classes.expand(len(owner), -1, -1).gather(2, owner.clamp(min=0))
    return torch.zeros_like(logits).scatter_(3, column[..., None], (owner >= 0).to(logits.dtype)[..., None])


@torch.no_grad()
def overlaps(predictions: Predictions, assignment: Assignment, objects: Objects) -> Tensor:
    """IoU of every predicted box with its object, as :func:`class_targets` has them; 0 without one: D x B x N."""
    owner = _owners(assignment, predictions.logits)
    truth = objects.boxes.expand(len(owner), -1, -1, -1).gather(2, owner.clamp(min=0)[..., None].expand(-1, -1, -1, 4))
    first, second = (box_convert(b.float(), "cxcywh", "xyxy") for b in (predictions.boxes, truth))
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = predictions.boxes[..., 2:].float().prod(-1) + truth[..., 2:].prod(-1)
    return (shared / (areas - shared).clamp(min=1e-9)).masked_fill(owner < 0, 0.0)


def _owners(assignment: Assignment, logits: Tensor) -> Tensor:
    """Object of each prediction, -1 for none: D x B x N."""
    layers, batch, count, _ = logits.shape
    index, valid = (t.expand(layers, -1, -1, -1) for t in (assignment.index, assignment.valid))
    slots = torch.arange(index.shape[2], device=index.device)[:, None].expand_as(index)
    owner = torch.full((layers, batch, count), -1, device=index.device)
    return owner.scatter_reduce_(2, index.flatten(2), slots.masked_fill(~valid, -1).flatten(2), "amax")


def class_loss(predictions: Predictions, targets: Tensor, loss: ClassLoss | None = None) -> Tensor:
    """Loss of the classes, without one the focal, summed over images, predictions and classes: D."""
    losses = (loss or Focal())(predictions.logits.float(), targets.float())
    return losses.sum(dim=(1, 2, 3))


def box_losses(predictions: Predictions, assignment: Assignment, objects: Objects) -> tuple[Tensor, Tensor]:
    """L1 distance and 1 - generalised IoU (arXiv 1902.09630) of the assigned boxes, summed over images and pairs: D."""
    layers = len(predictions.boxes)
    index, valid = (t.expand(layers, -1, -1, -1) for t in (assignment.index, assignment.valid))
    flat = index.flatten(2)[..., None].expand(-1, -1, -1, 4)
    boxes = predictions.boxes.float().gather(2, flat).view(*index.shape, 4)
    truth = objects.boxes[None, :, :, None].expand_as(boxes)
    boxes = torch.where(valid[..., None], boxes, truth)  # what is unused loses nothing and has no gradient
    giou = generalized_box_iou_loss(box_convert(boxes, "cxcywh", "xyxy"), box_convert(truth, "cxcywh", "xyxy"))
    return (boxes - truth).abs().sum(dim=(1, 2, 3, 4)), (giou * valid).sum(dim=(1, 2, 3))


def mean_objects(objects: Objects) -> Tensor:
    """Objects per process, at least one: what sums of losses are divided by."""
    return _per_process(objects.valid.sum()).clamp(min=1)


def shares_of_objects(pieces: Sequence[Objects]) -> list[Tensor]:
    """Factors with which losses that each piece of a batch divided by its own :func:`mean_objects` add up to those of
    the whole batch. Every process must ask, with as many pieces.
    """
    counts = _per_process(torch.stack([piece.valid.sum() for piece in pieces]))
    return list((counts.clamp(min=1) / counts.sum().clamp(min=1)).unbind())


def _per_process(counts: Tensor) -> Tensor:
    """Means over processes, float32."""
    counts = counts.float()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
        counts = counts / dist.get_world_size()
    return counts
