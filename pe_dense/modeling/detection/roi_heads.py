"""Second stage of Mask R-CNN: sample regions, then predict classes, boxes and masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pe_dense.layers.soft_nms import Decay
from pe_dense.modeling.detection.box_head import BoxHead, BoxPredictor
from pe_dense.modeling.detection.mask_head import MaskHead, mask_loss, mask_targets
from pe_dense.modeling.detection.matcher import Matcher
from pe_dense.modeling.detection.pooler import ROIPooler
from pe_dense.modeling.detection.postprocess import select_detections
from pe_dense.modeling.detection.regions import Proposals, Samples, Targets, gather_rows, nonempty
from pe_dense.modeling.detection.sampling import subsample_labels
from pe_dense.structures import Instances, RoiMasks


class RegionHeads(nn.Module, ABC):
    """What all second stages share: sampling, the mask branch, the final detections.

    Subclasses say how boxes are trained (:meth:`box_losses`) and predicted (:meth:`classify`).

    Args:
        num_classes: K, background not counted.
        others: see :class:`ROIHeads`.

    Raises:
        ValueError: if only one of ``mask_pooler`` and ``mask_head`` is given.
    """

    def __init__(
        self,
        num_classes: int,
        proposal_matcher: Matcher,
        mask_pooler: ROIPooler | None,
        mask_head: MaskHead | None,
        in_features: Sequence[str],
        batch_size_per_image: int,
        positive_fraction: float,
        test_score_thresh: float,
        test_nms_thresh: float,
        test_topk_per_image: int,
        test_decay: Decay | None,
    ) -> None:
        super().__init__()
        if (mask_pooler is None) != (mask_head is None):
            raise ValueError("mask_pooler and mask_head belong together: give both, or neither for boxes only")
        self.num_classes = num_classes
        self.proposal_matcher = proposal_matcher
        self.mask_pooler = mask_pooler
        self.mask_head = mask_head
        self.in_features = tuple(in_features)
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.test_decay = test_decay

    @abstractmethod
    def box_losses(
        self, levels: Sequence[Tensor], samples: Samples, sizes: Sequence[tuple[int, int]], targets: Targets
    ) -> dict[str, Tensor]:
        """Losses of the box branch.

        Args:
            levels: the pyramid, B x C x H x W each.
            samples: sampled regions.
            sizes: valid (height, width) of each image.
            targets: ground truth.
        """

    @abstractmethod
    def classify(
        self, levels: Sequence[Tensor], boxes: Tensor, image: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Refined boxes and class probabilities of regions.

        Args:
            levels: the pyramid, B x C x H x W each.
            boxes: R x 4 regions.
            image: R, which image each region lies in.
            sizes: valid (height, width) of each image.

        Returns:
            R x K x 4 boxes (R x 1 x 4 if the classes share one) and R x K probabilities.
        """

    def forward(
        self,
        features: Mapping[str, Tensor],
        proposals: Proposals,
        sizes: Sequence[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Train on, or predict from, proposals.

        Args:
            features: the pyramid, B x C x H x W each.
            proposals: of the B images.
            sizes: valid (height, width) of each image.
            targets: ground truth; needed in training mode only.

        Returns:
            in eval mode the detections of each image in the coordinates of ``sizes`` (else an empty list), and in
            training mode the losses (else an empty dict).
        """
        levels = [features[name] for name in self.in_features]
        if not self.training:
            return self.add_masks(levels, self.detect(levels, proposals, sizes)), {}
        if targets is None:
            raise ValueError("the region heads need targets in training mode; call model.eval() to predict")
        samples = self.sample(proposals, targets)
        losses = self.box_losses(levels, samples, sizes, targets)
        return [], losses | self.mask_losses(levels, samples, targets)

    @torch.no_grad()
    def sample(self, proposals: Proposals, targets: Targets) -> Samples:
        """Choose regions to train on; the objects' own boxes are among the candidates."""
        boxes = torch.cat([proposals.boxes, targets.boxes], dim=1)
        # an object without area has no offsets that lead to it
        valid = torch.cat([proposals.valid, targets.valid & nonempty(targets.boxes)], dim=1)
        candidates = self.label(boxes, valid, targets, self.proposal_matcher)
        index, chosen = subsample_labels(
            torch.where(candidates.foreground(self.num_classes), 1, (candidates.classes >= 0).long() - 1),
            self.batch_size_per_image,
            self.positive_fraction,
        )
        classes = gather_rows(candidates.classes, index).masked_fill(~chosen, -1)
        return Samples(
            gather_rows(boxes, index) * chosen[..., None],
            classes,
            gather_rows(candidates.objects, index),
            gather_rows(candidates.target_boxes, index),
        )

    def label(self, boxes: Tensor, valid: Tensor, targets: Targets, matcher: Matcher) -> Samples:
        """Match B x N boxes with the objects; boxes that are not valid or ignored get class -1."""
        objects, labels = matcher.match_boxes(targets.boxes, targets.valid, boxes)
        classes = gather_rows(targets.classes, objects).masked_fill(labels == 0, self.num_classes)
        classes = classes.masked_fill((labels < 0) | ~valid, -1)
        return Samples(boxes, classes, objects, gather_rows(targets.boxes, objects))

    def mask_losses(self, levels: Sequence[Tensor], samples: Samples, targets: Targets) -> dict[str, Tensor]:
        """``loss_mask`` on the foreground regions; nothing if masks are off."""
        if self.mask_head is None or self.mask_pooler is None:
            return {}
        foreground = samples.foreground(self.num_classes)
        # Picking rows waits for the device, but running the mask head on background as well would cost more.
        image, slot = foreground.nonzero(as_tuple=True)
        pooled = self.mask_pooler(levels, samples.boxes[image, slot], image)
        logits = self.mask_head(pooled, samples.classes[image, slot])
        goals = mask_targets(samples, targets, foreground, logits.shape[-1])
        return {"loss_mask": mask_loss(logits, goals[image, slot])}

    def detect(
        self, levels: Sequence[Tensor], proposals: Proposals, sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """Boxes, classes and scores of each image."""
        image, slot = proposals.valid.nonzero(as_tuple=True)
        boxes, probs = self.classify(levels, proposals.boxes[image, slot], image, sizes)
        limits = (self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image, self.test_decay)
        return select_detections(boxes, probs, image, sizes, *limits)

    def add_masks(self, levels: Sequence[Tensor], detections: list[Instances]) -> list[Instances]:
        """Predict a mask for each detected box, if masks are on."""
        if self.mask_head is None or self.mask_pooler is None:
            return detections
        counts = [len(d) for d in detections]
        boxes = torch.cat([d.boxes for d in detections])
        classes = torch.cat([d.classes for d in detections if d.classes is not None])
        index = torch.arange(len(counts), device=boxes.device).repeat_interleave(torch.tensor(counts).to(boxes.device))
        probs = self.mask_head(self.mask_pooler(levels, boxes, index), classes).sigmoid()
        for found, p in zip(detections, probs.split(counts)):
            found.masks = RoiMasks(p, found.boxes, found.image_size)
        return detections


class ROIHeads(RegionHeads):
    """Box and mask heads on regions (detectron2's ``StandardROIHeads``).

    Args:
        box_pooler: features of the regions for the box head.
        box_head: region features.
        box_predictor: classes and boxes from region features.
        proposal_matcher: labels proposals as object or background.
        mask_pooler: features of the regions for the mask head; ``None`` for boxes only.
        mask_head: predicts masks; ``None`` for boxes only.
        in_features: names of the pyramid levels, finest first.
        batch_size_per_image: proposals per image that the losses are computed on.
        positive_fraction: largest share of them that lies on objects.
        test_score_thresh: detections need a higher score.
        test_nms_thresh: IoU above which the lower-scoring box of a class is dropped.
        test_topk_per_image: detections kept per image.
        test_decay: if set, such a box is not dropped, its score falls: see :func:`pe_dense.layers.soft_nms.soft_nms`.
    """

    def __init__(
        self,
        box_pooler: ROIPooler,
        box_head: BoxHead,
        box_predictor: BoxPredictor,
        proposal_matcher: Matcher,
        mask_pooler: ROIPooler | None = None,
        mask_head: MaskHead | None = None,
        in_features: Sequence[str] = ("p2", "p3", "p4", "p5"),
        batch_size_per_image: int = 512,
        positive_fraction: float = 0.25,
        test_score_thresh: float = 0.05,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        test_decay: Decay | None = None,
    ) -> None:
        super().__init__(
            box_predictor.num_classes,
            proposal_matcher,
            mask_pooler,
            mask_head,
            in_features,
            batch_size_per_image,
            positive_fraction,
            test_score_thresh,
            test_nms_thresh,
            test_topk_per_image,
            test_decay,
        )
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor

    def box_losses(
        self, levels: Sequence[Tensor], samples: Samples, sizes: Sequence[tuple[int, int]], targets: Targets
    ) -> dict[str, Tensor]:
        """``loss_cls`` and ``loss_box_reg``."""
        pooled = self.box_pooler(levels, samples.boxes.flatten(0, 1), slot_images(samples.boxes))
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return self.box_predictor.losses(logits, deltas, samples)

    def classify(
        self, levels: Sequence[Tensor], boxes: Tensor, image: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`RegionHeads.classify`."""
        logits, deltas = self.box_predictor(self.box_head(self.box_pooler(levels, boxes, image)))
        return self.box_predictor.decode(deltas, boxes), self.box_predictor.probabilities(logits)


def slot_images(boxes: Tensor) -> Tensor:
    """Which image each of the flattened slots of B x S x 4 boxes belongs to: B * S int64."""
    return torch.arange(len(boxes), device=boxes.device)[:, None].expand(boxes.shape[:2]).flatten()
