"""Second stage of Cascade R-CNN: box heads that follow each other at rising IoU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pe_dense.layers.soft_nms import Decay
from pe_dense.modeling.detection.box_head import BoxHead, BoxPredictor
from pe_dense.modeling.detection.mask_head import MaskHead
from pe_dense.modeling.detection.matcher import Matcher
from pe_dense.modeling.detection.pooler import ROIPooler
from pe_dense.modeling.detection.regions import Samples, Targets, image_bounds, nonempty
from pe_dense.modeling.detection.roi_heads import RegionHeads, slot_images


class CascadeROIHeads(RegionHeads):
    """Each stage refines the boxes of the one before and is trained at a higher IoU (Cascade R-CNN, section 4).

    As in detectron2: the losses of the stages add up while the gradient that reaches the pyramid is averaged;
    proposals are sampled once, for the first stage and the masks; the class probabilities of all stages are
    averaged and the boxes of the last are taken.

    Args:
        box_pooler: features of the regions for all stages.
        box_heads: region features, one per stage.
        box_predictors: class-agnostic predictors, one per stage.
        proposal_matchers: what counts as an object, one per stage.
        mask_pooler: features of the regions for the mask head; ``None`` for boxes only.
        mask_head: predicts masks; ``None`` for boxes only.
        in_features: names of the pyramid levels, finest first.
        batch_size_per_image: proposals per image that the losses are computed on.
        positive_fraction: largest share of them that lies on objects.
        test_score_thresh: detections need a higher score.
        test_nms_thresh: IoU above which the lower-scoring box of a class is dropped.
        test_topk_per_image: detections kept per image.
        test_decay: if set, such a box is not dropped, its score falls: see :func:`pe_dense.layers.soft_nms.soft_nms`.

    Raises:
        ValueError: if the stages differ in number, or a predictor is not class-agnostic.
    """

    def __init__(
        self,
        box_pooler: ROIPooler,
        box_heads: Sequence[BoxHead],
        box_predictors: Sequence[BoxPredictor],
        proposal_matchers: Sequence[Matcher],
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
        if not len(box_heads) == len(box_predictors) == len(proposal_matchers) > 0:
            raise ValueError(
                f"a cascade needs one head, predictor and matcher per stage, got {len(box_heads)} heads, "
                f"{len(box_predictors)} predictors and {len(proposal_matchers)} matchers"
            )
        if any(p.bbox_pred.out_features != 4 for p in box_predictors):
            raise ValueError("the predictors of a cascade share one box between classes; set class_agnostic=True")
        super().__init__(
            box_predictors[0].num_classes,
            proposal_matchers[0],
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
        self.box_heads = nn.ModuleList(box_heads)
        self.box_predictors = nn.ModuleList(box_predictors)
        self.proposal_matchers = tuple(proposal_matchers)

    def box_losses(
        self, levels: Sequence[Tensor], samples: Samples, sizes: Sequence[tuple[int, int]], targets: Targets
    ) -> dict[str, Tensor]:
        """``loss_cls_stage0``, ``loss_box_reg_stage0``, ``loss_cls_stage1`` and so on."""
        losses: dict[str, Tensor] = {}
        image = slot_images(samples.boxes)
        bounds = image_bounds(sizes, image.device)[image]
        for stage, predictor in enumerate(self._predictors()):
            boxes = samples.boxes.flatten(0, 1)
            logits, deltas = self._run_stage(stage, levels, boxes, image)
            stage_losses = predictor.losses(logits, deltas, samples)
            losses |= {f"{name}_stage{stage}": value for name, value in stage_losses.items()}
            if stage + 1 < len(self.box_heads):
                boxes = _clip(predictor.decode(deltas.detach(), boxes)[:, 0], bounds).view_as(samples.boxes)
                valid = (samples.classes >= 0) & nonempty(boxes)
                boxes = torch.where(valid[..., None], boxes, 0.0)
                samples = self.label(boxes, valid, targets, self.proposal_matchers[stage + 1])
        return losses

    def classify(
        self, levels: Sequence[Tensor], boxes: Tensor, image: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`RegionHeads.classify`."""
        bounds = image_bounds(sizes, image.device)[image]
        probs: list[Tensor] = []
        for stage, predictor in enumerate(self._predictors()):
            logits, deltas = self._run_stage(stage, levels, boxes, image)
            probs.append(predictor.probabilities(logits))
            boxes = _clip(predictor.decode(deltas, boxes)[:, 0], bounds)
        return boxes[:, None], torch.stack(probs).mean(dim=0)

    def _run_stage(self, stage: int, levels: Sequence[Tensor], boxes: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets that one stage gives R x 4 regions."""
        pooled = _ScaleGradient.apply(self.box_pooler(levels, boxes, image), 1.0 / len(self.box_heads))
        return self._predictors()[stage](self.box_heads[stage](pooled))

    def _predictors(self) -> list[BoxPredictor]:
        return cast(list[BoxPredictor], list(self.box_predictors))


def _clip(boxes: Tensor, bounds: Tensor) -> Tensor:
    """R x 4 boxes moved into their images; ``bounds`` holds (width, height, width, height) per box."""
    return torch.minimum(boxes.clamp(min=0), bounds)


class _ScaleGradient(torch.autograd.Function):
    """The identity with a scaled gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None
