"""From scores and boxes to the final detections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pe_dense.layers.soft_nms import Decay, soft_nms
from pe_dense.modeling.detection.regions import clip_boxes, grouped_nms, image_bounds, nonempty
from pe_dense.structures import Instances, RoiMasks


def select_detections(
    boxes: Tensor,
    probs: Tensor,
    image_index: Tensor,
    sizes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    max_detections: int,
    decay: Decay | None = None,
) -> list[Instances]:
    """Threshold, per-class non-maximum suppression and the best of each image, for all images at once.

    Args:
        boxes: R x K x 4, or R x 1 x 4 if the classes share a box.
        probs: R x K, background left out.
        image_index: R, which image each region lies in.
        sizes: valid (height, width) of each image.
        score_thresh: only higher scores are kept.
        nms_thresh: IoU above which the lower-scoring box of the same class is dropped.
        max_detections: boxes kept per image.
        decay: if set, such a box stays with a lower score, see :func:`pe_dense.layers.soft_nms.soft_nms`.

    Returns:
        per image, boxes (clipped to it), classes and scores in descending order of score.
    """
    num_classes = probs.shape[1]
    finite = boxes.isfinite().all(dim=2).all(dim=1) & probs.isfinite().all(dim=1)
    row, cls = ((probs > score_thresh) & finite[:, None]).nonzero(as_tuple=True)
    image, score = image_index[row], probs[row, cls]
    box = boxes[row, cls if boxes.shape[1] > 1 else torch.zeros_like(cls)]
    bounds = image_bounds(sizes, box.device)[image]
    box = torch.minimum(box.clamp(min=0), bounds)

    keep, left = suppress(box, score, image * num_classes + cls, decay, nms_thresh)
    order = torch.sort(image[keep], stable=True).indices  # by image, and by score within an image
    keep, score = keep[order], score.index_copy(0, keep, left)
    parts = keep.split(torch.bincount(image[keep], minlength=len(sizes)).tolist())
    parts = [p[:max_detections] for p in parts]
    return [Instances(size, box[p], classes=cls[p], scores=score[p]) for size, p in zip(sizes, parts)]


def suppress(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    decay: Decay | None,
    iou_threshold: float,
    quad_scale: float = 0.5,
    sigma: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression among boxes of the same group, hard or soft.

    Args:
        boxes: R x 4 XYXY.
        scores: R.
        groups: R int64.
        decay: ``None`` drops the lower-scoring box; otherwise see :func:`pe_dense.layers.soft_nms.soft_nms`.
        iou_threshold: overlap above which this happens.
        quad_scale, sigma: see :func:`pe_dense.layers.soft_nms.soft_nms`.

    Returns:
        indices of the boxes that stay, in descending order of their scores, and these scores.
    """
    if decay is None:
        keep = grouped_nms(boxes, scores, groups, iou_threshold)
        return keep, scores[keep]
    return soft_nms(boxes, scores, groups, decay, iou_threshold, quad_scale, sigma)


def to_original_size(detections: Instances, height: int, width: int) -> Instances:
    """Scale detections to the original image, clip them and drop the ones that become empty.

    Args:
        detections: in the coordinates of the image the model saw.
        height: of the original image.
        width: of the original image.

    Returns:
        detections with ``image_size`` = (height, width); masks are pasted into it only on demand.
    """
    seen_height, seen_width = detections.image_size
    scale = image_bounds([(height, width)], detections.boxes.device) / image_bounds(
        [(seen_height, seen_width)], detections.boxes.device
    )
    boxes = clip_boxes((detections.boxes * scale)[None], image_bounds([(height, width)], scale.device))[0]
    masks = detections.masks
    if isinstance(masks, RoiMasks):
        masks = RoiMasks(masks.probs, boxes, (height, width), masks.threshold)
    moved = Instances((height, width), boxes, detections.classes, detections.scores, masks)
    return moved[nonempty(boxes)]
