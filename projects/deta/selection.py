"""From the queries' scores to detections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pe_dense.layers.soft_nms import Decay
from pe_dense.modeling.detection.postprocess import suppress


@dataclass
class Selection:
    """How detections are chosen among all pairs of query and class.

    Attributes:
        decay: how the score of a box that overlaps a better one of its class falls, see
            :func:`pe_dense.layers.soft_nms.soft_nms`; ``None`` drops the box.
        iou_threshold: overlap from which this happens.
        quad_scale: exponent of the decay "quad".
        pre_topk: best pairs per image that are looked at; the release takes 10,000, with a decay 2,000.
        topk: detections kept per image; ``None`` keeps all.
    """

    decay: Decay | None = None
    iou_threshold: float = 0.7
    quad_scale: float = 0.5
    pre_topk: int = 10_000
    topk: int | None = 100

    @torch.no_grad()
    def __call__(self, boxes: Tensor, probs: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Choose.

        Args:
            boxes: B x Q x 4 XYXY, of any unit.
            probs: B x Q x C in [0, 1]; those of a query whose box is not finite count as zero.

        Returns:
            per image boxes (n x 4), classes (n) and scores (n) in descending order, and the queries (n) they are of.
        """
        batch, _, classes = probs.shape
        finite = boxes.isfinite().all(-1, keepdim=True) & probs.isfinite()
        scores, index = torch.where(finite, probs, 0.0).flatten(1).topk(min(self.pre_topk, probs[0].numel()), dim=1)
        query, label = index // classes, index % classes
        image = torch.arange(batch, device=probs.device)[:, None].expand_as(index)
        found = boxes.nan_to_num(posinf=0.0, neginf=0.0)  # far away, it would shift the classes of the others
        found = found.gather(1, query[..., None].expand(-1, -1, 4)).flatten(0, 1)
        flat, groups = scores.flatten(), (image * classes + label).flatten()
        keep, left = suppress(found, flat, groups, self.decay, self.iou_threshold, self.quad_scale)
        flat = flat.index_copy(0, keep, left)
        keep = keep[flat[keep] > 0]
        by_image = [keep[image.flatten()[keep] == i][: self.topk] for i in range(batch)]
        return [(found[k], label.flatten()[k], flat[k], query.flatten()[k]) for k in by_image]
