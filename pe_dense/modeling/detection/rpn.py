"""Region proposal network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection.anchors import AnchorGenerator
from pe_dense.modeling.detection.matcher import Matcher
from pe_dense.modeling.detection.regions import (
    Proposals,
    Targets,
    clip_boxes,
    gather_rows,
    grouped_nms,
    image_bounds,
    nonempty,
)
from pe_dense.modeling.detection.sampling import subsample_labels


class RPNHead(nn.Module):
    """Objectness and box offsets at every position, the same weights on all levels.

    Args:
        in_channels: channels of the pyramid.
        num_anchors: anchors per position.
        num_convs: 3x3 convolutions with ReLU before the two outputs (ViTDet uses 2).
    """

    def __init__(self, in_channels: int = 256, num_anchors: int = 3, num_convs: int = 2) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(in_channels, in_channels, 3, padding=1) for _ in range(num_convs))
        self.objectness = nn.Conv2d(in_channels, num_anchors, 1)
        self.deltas = nn.Conv2d(in_channels, num_anchors * 4, 1)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name.startswith("convs."):  # keeps the features' scale at any width; 0.01 shrinks it in narrow models
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.normal_(parameter, std=0.01)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict for each level.

        Args:
            features: B x C x H x W per level.

        Returns:
            per level, float32 logits B x (H*W*A) and offsets B x (H*W*A) x 4, in the order of the anchors.
        """
        logits, deltas = [], []
        for x in features:
            for conv in self.convs:
                x = F.relu(conv(x))
            logits.append(self.objectness(x).permute(0, 2, 3, 1).flatten(1).float())
            deltas.append(self.deltas(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4).float())
        return logits, deltas


class RPN(nn.Module):
    """Proposals from anchors, and the losses of the proposal network (Faster R-CNN, section 3.1).

    Args:
        head: predicts logits and offsets.
        anchor_generator: anchors of the levels in ``in_features``.
        anchor_matcher: labels anchors as object, background or ignored.
        box_coder: parameterisation of the offsets.
        in_features: names of the pyramid levels, finest first.
        batch_size_per_image: anchors per image that the losses are computed on.
        positive_fraction: largest share of them that lies on objects.
        pre_nms_topk: anchors per level and image that enter NMS, (training, test).
        post_nms_topk: proposals per image, (training, test).
        nms_thresh: IoU above which the lower-scoring proposal of a level is dropped.
        min_box_size: proposals with a side of this many pixels or less are dropped.
    """

    def __init__(
        self,
        head: RPNHead,
        anchor_generator: AnchorGenerator,
        anchor_matcher: Matcher,
        box_coder: BoxCoder,
        in_features: Sequence[str] = ("p2", "p3", "p4", "p5", "p6"),
        batch_size_per_image: int = 256,
        positive_fraction: float = 0.5,
        pre_nms_topk: tuple[int, int] = (2000, 1000),
        post_nms_topk: tuple[int, int] = (1000, 1000),
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
    ) -> None:
        super().__init__()
        self.head = head
        self.anchor_generator = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box_coder = box_coder
        self.in_features = tuple(in_features)
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = tuple(pre_nms_topk)
        self.post_nms_topk = tuple(post_nms_topk)
        self.nms_thresh = nms_thresh
        self.min_box_size = min_box_size

    def forward(
        self, features: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """Propose regions.

        Args:
            features: the pyramid, B x C x H x W each.
            sizes: valid (height, width) of each image.
            targets: ground truth; needed in training mode only.

        Returns:
            proposals without gradient, and ``loss_rpn_cls`` and ``loss_rpn_loc`` (empty in eval mode).
        """
        levels = [features[name] for name in self.in_features]
        anchors = self.anchor_generator([(f.shape[-2], f.shape[-1]) for f in levels], levels[0].device)
        logits, deltas = self.head(levels)
        losses: dict[str, Tensor] = {}
        if self.training:
            if targets is None:
                raise ValueError("the proposal network needs targets in training mode; call model.eval() to predict")
            losses = self.losses(torch.cat(anchors), torch.cat(logits, dim=1), torch.cat(deltas, dim=1), targets)
        return self.propose(anchors, logits, deltas, sizes), losses

    def losses(self, anchors: Tensor, logits: Tensor, deltas: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Binary cross-entropy and L1 on sampled anchors, both divided by the full sample size.

        Args:
            anchors: A x 4.
            logits: B x A.
            deltas: B x A x 4.
            targets: ground truth of the B images.
        """
        matched, labels = self.anchor_matcher.match_boxes(targets.boxes, targets.valid, anchors)
        index, valid = subsample_labels(labels, self.batch_size_per_image, self.positive_fraction)
        positive = (gather_rows(labels, index) == 1) & valid
        goals = self.box_coder.encode(anchors[index], gather_rows(targets.boxes, gather_rows(matched, index)))
        goals = torch.where(positive[..., None], goals, 0.0)  # background may be matched to a padded box
        cls = F.binary_cross_entropy_with_logits(gather_rows(logits, index), positive.float(), reduction="none")
        loc = F.l1_loss(gather_rows(deltas, index), goals, reduction="none") * positive[..., None]
        total = self.batch_size_per_image * len(labels)
        return {"loss_rpn_cls": (cls * valid).sum() / total, "loss_rpn_loc": loc.sum() / total}

    @torch.no_grad()
    def propose(
        self,
        anchors: Sequence[Tensor],
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
    ) -> Proposals:
        """The best boxes of each image after non-maximum suppression within each level.

        In a training step, the device is waited for only here, inside torchvision's NMS, and by the mask branch.

        Args:
            anchors: per level, N x 4.
            logits: per level, B x N.
            deltas: per level, B x N x 4.
            sizes: valid (height, width) of each image.
        """
        boxes, scores = self._top_of_each_level(anchors, logits, deltas)
        level = torch.cat([torch.full_like(s, i, dtype=torch.int64) for i, s in enumerate(scores)], dim=1)
        box, score = torch.cat(boxes, dim=1), torch.cat(scores, dim=1)
        finite = box.isfinite().all(dim=-1) & score.isfinite()
        box = clip_boxes(box.nan_to_num(), image_bounds(sizes, box.device))
        usable = finite & nonempty(box, self.min_box_size)
        box, score = box * usable[..., None], score.masked_fill(~usable, -torch.inf)

        group = level + len(anchors) * torch.arange(len(box), device=box.device)[:, None]
        keep = grouped_nms(box.flatten(0, 1), score.flatten(), group.flatten(), self.nms_thresh)
        kept = torch.full_like(score, -torch.inf).flatten().scatter(0, keep, score.flatten()[keep]).view_as(score)
        top = kept.topk(min(self.post_nms_topk[not self.training], kept.shape[1]), dim=1)
        valid = top.values > -torch.inf
        return Proposals(gather_rows(box, top.indices) * valid[..., None], top.values, valid)

    def _top_of_each_level(
        self, anchors: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Decode only the boxes that can enter NMS: per level B x k x 4 boxes and B x k logits."""
        boxes, scores = [], []
        for anchor, logit, delta in zip(anchors, logits, deltas):
            top = logit.topk(min(self.pre_nms_topk[not self.training], logit.shape[1]), dim=1)
            boxes.append(self.box_coder.decode(gather_rows(delta, top.indices), anchor[top.indices]))
            scores.append(top.values)
        return boxes, scores
