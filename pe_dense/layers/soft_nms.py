"""Non-maximum suppression that lowers scores instead of dropping boxes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torchvision.ops import box_iou

Decay = Literal["quad", "linear", "gaussian", "hard"]
_PAIRS = 1 << 24  # overlaps computed at a time


@torch.no_grad()
def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    decay: Decay = "quad",
    iou_threshold: float = 0.7,
    quad_scale: float = 0.5,
    sigma: float = 0.5,
    min_score: float = 0.001,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS (arXiv 1704.04503): the best box is taken, its neighbours' scores fall, and so on.

    Boxes influence each other only within clusters of overlapping boxes, so all clusters advance together: as many
    steps as the largest has boxes. Runs on the CPU, whatever the device.

    Args:
        boxes: N x 4 XYXY.
        scores: N.
        groups: N int64; boxes of different groups do not influence each other.
        decay: factor on the score of a box whose IoU with the taken one is o. ``quad``: (1 - o) ** ``quad_scale`` where
            o > ``iou_threshold``; ``linear``: 1 - o there; ``gaussian``: exp(-o ** 2 / ``sigma``) everywhere; ``hard``:
            0 where o >= ``iou_threshold``.
        iou_threshold: see ``decay``.
        quad_scale: see ``decay``.
        sigma: see ``decay``.
        min_score: boxes are dropped when their score is no higher.

    Returns:
        indices of the boxes that stay, in descending order of their new scores, and these scores.
    """
    device, dtype = scores.device, scores.dtype
    boxes, left = boxes.double().cpu(), scores.double().cpu().clone()
    least = 0.0 if decay == "gaussian" else iou_threshold
    for members in _clusters(boxes, groups.cpu(), least):  # clusters x boxes, -1 where a cluster has fewer
        left = _decay_clusters(boxes, left, members, decay, iou_threshold, quad_scale, sigma, min_score)
    keep = (left > min_score).nonzero()[:, 0]
    keep = keep[left[keep].argsort(descending=True, stable=True)]
    return keep.to(device), left[keep].to(device, dtype)


def _clusters(boxes: Tensor, groups: Tensor, least: float) -> list[Tensor]:
    """Connected sets of at least two boxes, by size: in each tensor, the sizes differ by less than a factor of two."""
    first, second = _neighbours(boxes, groups, least)
    if not len(first):
        return []
    graph = coo_matrix((np.ones(len(first), dtype=bool), (first.numpy(), second.numpy())), (len(boxes), len(boxes)))
    label = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
    sizes = label.bincount()
    order = label.argsort(stable=True)
    starts = sizes.cumsum(0) - sizes
    slot = torch.arange(len(order)) - starts[label[order]]
    found = []
    power = 1
    while 1 << power <= 2 * int(sizes.max()):
        chosen = (sizes >= 1 << power) & (sizes < 2 << power)
        if chosen.any():
            row = chosen.cumsum(0) - 1
            members = torch.full((int(chosen.sum()), int(sizes[chosen].max())), -1)
            inside = chosen[label[order]]
            members[row[label[order[inside]]], slot[inside]] = order[inside]
            found.append(members)
        power += 1
    return found


def _neighbours(boxes: Tensor, groups: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Pairs of boxes of a group with an IoU of at least ``least`` and above zero."""
    order = groups.argsort(stable=True)
    pairs = []
    for members in order.split(groups[order].unique_consecutive(return_counts=True)[1].tolist()):
        step = max(1, _PAIRS // max(1, len(members)))
        for rows in members.split(step):
            iou = box_iou(boxes[rows], boxes[members])
            row, column = ((iou >= least) & (iou > 0)).nonzero(as_tuple=True)
            pairs.append(torch.stack([rows[row], members[column]]))
    first, second = torch.cat(pairs, dim=1) if pairs else torch.zeros(2, 0, dtype=torch.int64)
    apart = first != second
    return first[apart], second[apart]


def _decay_clusters(
    boxes: Tensor,
    scores: Tensor,
    members: Tensor,
    decay: Decay,
    iou_threshold: float,
    quad_scale: float,
    sigma: float,
    min_score: float,
) -> Tensor:
    """All N scores after the clusters of ``members`` have been worked off."""
    filled = members >= 0
    corners = boxes[members.clamp(min=0)]
    x0, y0, x1, y1 = corners.unbind(-1)
    area = (x1 - x0) * (y1 - y0)
    waiting = torch.where(filled, scores[members.clamp(min=0)], 0.0)  # zero: taken, or no box
    final = torch.zeros_like(waiting)
    for _ in range(members.shape[1]):
        best, taken = waiting.max(dim=1, keepdim=True)
        alive = best > min_score
        if not bool(alive.any()):
            break
        final.scatter_(1, taken, torch.where(alive, best, final.gather(1, taken)))
        a0, b0, a1, b1, own = (t.gather(1, taken) for t in (x0, y0, x1, y1, area))
        shared = (torch.minimum(x1, a1) - torch.maximum(x0, a0)).clamp_(min=0)
        shared *= (torch.minimum(y1, b1) - torch.maximum(y0, b0)).clamp_(min=0)
        iou = (shared / (area + own - shared)).nan_to_num_(0.0)
        waiting = waiting * _factor(iou, decay, iou_threshold, quad_scale, sigma)
        waiting.scatter_(1, taken, 0.0)
    return scores.index_put((members[filled],), final[filled])


def _factor(iou: Tensor, decay: Decay, iou_threshold: float, quad_scale: float, sigma: float) -> Tensor:
    if decay == "gaussian":
        return torch.exp(-(iou**2) / sigma)
    if decay == "hard":
        return (iou < iou_threshold).to(iou.dtype)
    return torch.where(iou > iou_threshold, (1 - iou) ** (quad_scale if decay == "quad" else 1.0), 1.0)
