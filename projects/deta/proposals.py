"""The first stage: one anchor per cell, and which of the boxes made of them become queries."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert

from pe_dense.modeling.detection.regions import gather_rows, grouped_nms
from projects.deta.levels import Levels

MARGIN = 0.01  # of the image's side; an anchor whose centre or size is nearer to 0 or 1 is left out


def make_anchors(levels: Levels, smallest: float = 0.05) -> tuple[Tensor, Tensor]:
    """One square anchor per cell, twice as large on each level (Deformable DETR, section A.4).

    Args:
        levels: the maps.
        smallest: side of the anchors of the first map, as a fraction of the image.

    Returns:
        B x S x 4 (centre x, y, width, height) in fractions of the image, ones for cells without an anchor; and B x S
        bool, False for these: padding, and anchors that come closer than a hundredth to the image's edge or whole
        size.
    """
    centres = levels.centres()
    side = (smallest * 2.0 ** levels.index())[None, :, None].expand(len(centres), -1, 2)
    anchors = torch.cat([centres, side], dim=-1)
    valid = ((anchors > MARGIN) & (anchors < 1 - MARGIN)).all(-1) & ~levels.padding()
    return torch.where(valid[..., None], anchors, 1.0), valid


@torch.no_grad()
def select_proposals(
    boxes: Tensor, logits: Tensor, levels: Levels, count: int, pre_nms_topk: int, nms_thresh: float
) -> Tensor:
    """The boxes that become queries: after suppression within each level, the best of every level, then the best.

    As DETA does (arXiv 2212.06137, section 3.3). If suppression leaves too few in an image, its best-scored boxes are
    taken instead; if there are fewer boxes than asked for, all of them.

    Args:
        boxes: B x S x 4 (centre x, y, width, height) in fractions of the image.
        logits: B x S.
        levels: the maps that the boxes come from.
        count: queries wanted, Q.
        pre_nms_topk: boxes per level that enter suppression.
        nms_thresh: IoU above which the lower-scored box of a level is dropped.

    Returns:
        B x min(Q, S) int64, in descending order of score.
    """
    batch, total = logits.shape
    count = min(count, total)
    candidates, level = _best_of_each_level(logits, levels, pre_nms_topk)
    scores = logits.gather(1, candidates)
    corners = box_convert(gather_rows(boxes, candidates), "cxcywh", "xyxy").clamp(0, 1)
    image = torch.arange(batch, device=logits.device)[:, None].expand_as(candidates)
    groups = image * len(levels.shapes) + level
    stays = torch.zeros(candidates.numel(), dtype=torch.bool, device=logits.device)
    stays[grouped_nms(corners.flatten(0, 1), scores.flatten(), groups.flatten(), nms_thresh)] = True
    kept = stays.view_as(scores)

    order = scores.masked_fill(~kept, float("-inf")).argsort(dim=1, descending=True, stable=True)
    kept = kept.gather(1, order)
    of_level = (level[order][..., None] == torch.arange(len(levels.shapes), device=level.device)) & kept[..., None]
    among_best = (of_level & (of_level.cumsum(1) <= count // len(levels.shapes))).any(-1)
    rank = kept.int() + among_best.int()  # 2: the best of its level, 1: others, 0: suppressed
    rank = rank if rank.shape[1] >= count else torch.nn.functional.pad(rank, (0, count - rank.shape[1]))
    chosen = rank.argsort(dim=1, descending=True, stable=True)[:, :count].sort(dim=1).values
    few = kept.sum(1, keepdim=True) < count
    by_level = candidates.gather(1, order.gather(1, chosen.clamp(max=order.shape[1] - 1)))
    return torch.where(few, logits.topk(count, dim=1).indices, by_level)


def _best_of_each_level(logits: Tensor, levels: Levels, most: int) -> tuple[Tensor, Tensor]:
    """Indices of the highest logits of every level, B x K, and the level of each, K."""
    parts, found, start = [], [], 0
    for level, (rows, cols) in enumerate(levels.shapes):
        part = logits[:, start : start + rows * cols]
        parts.append(part.topk(min(most, rows * cols), dim=1).indices + start)
        found.append(torch.full((parts[-1].shape[1],), level, device=logits.device))
        start += rows * cols
    return torch.cat(parts, dim=1), torch.cat(found)
