"""``Instances`` to detectron2's and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, PolygonMasks, ROIMasks
from detectron2.structures import Instances as TheirInstances
from pycocotools import mask as coco_mask
from torch import Tensor

from pe_dense.structures import Instances, RoiMasks
from pe_dense.structures.masks import bitmasks_of

_PREDICTED = {"boxes": "pred_boxes", "classes": "pred_classes", "masks": "pred_masks", "scores": "scores"}
_TRUE = {"boxes": "gt_boxes", "classes": "gt_classes", "masks": "gt_masks"}


def to_detectron2(instances: Instances, targets: bool = False) -> TheirInstances:
    """As detectron2 names and stores the objects of an image.

    Args:
        instances: where track ids are set, they come along as ``track_ids``.
        targets: ``True``: what a model is trained on, ``gt_boxes``, ``gt_classes`` and ``gt_masks`` (``BitMasks``);
            crowd regions, which detectron2's mapper drops too, are left out. ``False``: what a model predicts,
            ``pred_boxes``, ``pred_classes``, ``scores`` and ``pred_masks`` (N x H x W bool).
    """
    if targets and instances.crowd is not None:
        instances = instances[~instances.crowd]
    names = _TRUE if targets else _PREDICTED
    found = TheirInstances(instances.image_size)
    found.set(names["boxes"], Boxes(instances.boxes.clone()))  # which detectron2 scales and clips in place
    for ours in ("classes", "scores"):
        value = getattr(instances, ours)
        if value is not None and ours in names:
            found.set(names[ours], value)
    masks = None if instances.masks is None else bitmasks_of(instances.masks)
    if masks is not None:
        found.set(names["masks"], BitMasks(masks) if targets else masks)
    if instances.track_ids is not None:
        found.set("track_ids", instances.track_ids)
    return found


def from_detectron2(instances: TheirInstances) -> Instances:
    """Predictions or training targets of detectron2 as objects of ours.

    Masks may be ``BitMasks``, ``PolygonMasks`` (drawn by COCO's rule), N x H x W tensors, a list of COCO run-length
    encodings (``pred_masks_rle`` too), or the small maps of a mask head (``ROIMasks``, N x 1 x M x M), which stay
    small. What pe_dense has no field for, such as keypoints, is left out.

    Raises:
        ValueError: for objects without ``pred_boxes`` or ``gt_boxes``, rotated boxes, or masks of another kind.
    """
    names = _PREDICTED if instances.has("pred_boxes") else _TRUE
    if not instances.has(names["boxes"]):
        raise ValueError(
            f"detectron2 instances with the fields {sorted(instances.get_fields())} have no boxes; pe_dense needs "
            "pred_boxes or gt_boxes"
        )
    boxes = instances.get(names["boxes"])
    if boxes.tensor.shape[1] != 4:
        raise ValueError(f"{names['boxes']} are {type(boxes).__name__}; pe_dense has only upright Boxes, convert them")
    height, width = (int(side) for side in instances.image_size)
    found: dict[str, Any] = {ours: _field(instances, name) for ours, name in names.items() if ours != "boxes"}
    masks = found["masks"] if found["masks"] is not None else _field(instances, "pred_masks_rle")
    if masks is not None:
        found["masks"] = _masks(masks, boxes.tensor, (height, width))
    return Instances((height, width), boxes.tensor.float(), **found, track_ids=_field(instances, "track_ids"))


def _field(instances: TheirInstances, name: str) -> Any:
    return instances.get(name) if instances.has(name) else None


def _masks(masks: Any, boxes: Tensor, size: tuple[int, int]) -> Tensor | RoiMasks:
    if isinstance(masks, BitMasks):
        return masks.tensor
    if isinstance(masks, PolygonMasks):
        return BitMasks.from_polygon_masks(masks, *size).tensor.to(boxes.device)
    if isinstance(masks, ROIMasks):
        return RoiMasks(masks.tensor, boxes, size)
    if isinstance(masks, Tensor) and masks.dim() == 4 and masks.shape[1] == 1:
        return RoiMasks(masks[:, 0], boxes, size)
    if isinstance(masks, Tensor) and masks.dim() == 3 and tuple(masks.shape[1:]) == size:
        return masks.bool()
    if isinstance(masks, list) and all(isinstance(mask, dict) for mask in masks):
        bitmaps = [coco_mask.decode(mask).astype(np.bool_) for mask in masks]
        return torch.from_numpy(np.stack(bitmaps) if bitmaps else np.zeros((0, *size), np.bool_)).to(boxes.device)
    shape = f" of shape {tuple(masks.shape)}" if isinstance(masks, Tensor) else ""
    raise ValueError(
        f"masks are a {type(masks).__name__}{shape}, in an image of size {size}; give BitMasks, PolygonMasks, "
        "ROIMasks, N x H x W booleans or run-length encodings"
    )
