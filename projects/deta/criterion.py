"""From predictions and ground truth to named losses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torchvision.ops import box_convert

from pe_dense.modeling.detection.regions import gather_rows
from projects.deta.assignment import Assigner, Objects, OverlapAssigner
from projects.deta.classification import ClassLoss, Focal
from projects.deta.denoising import NoisedQueries
from projects.deta.losses import box_losses, class_loss, class_targets, mean_objects, overlaps
from projects.deta.masks import QueryMasks, cut_masks, mask_losses
from projects.deta.predictions import Predictions


class Criterion:
    """The losses of DETA: queries learn classes, the first stage learns only what is an object (column 0).

    Args:
        assigner: of queries to objects; ``None`` takes DETA's, for ``num_queries``.
        first_stage_assigner: of anchors to objects; ``None`` takes DETA's.
        num_queries: of the model.
        class_weight, box_weight, giou_weight: of the class, L1 and generalised-IoU losses, on every layer alike.
        classification: loss of the classes, of both stages; ``None`` takes DETA's, the focal.
        mask_weight: of both losses of the masks, if there are any.
    """

    def __init__(
        self,
        assigner: Assigner | None = None,
        first_stage_assigner: Assigner | None = None,
        num_queries: int = 900,
        class_weight: float = 1.0,
        box_weight: float = 5.0,
        giou_weight: float = 2.0,
        classification: ClassLoss | None = None,
        mask_weight: float = 2.0,
    ) -> None:
        self.assigner = assigner or OverlapAssigner.second_stage(num_queries)
        self.first_stage_assigner = first_stage_assigner or OverlapAssigner.first_stage()
        self.classification = classification or Focal()
        self.weights = {"cls": class_weight, "box": box_weight, "giou": giou_weight}
        self.weights |= {"mask": mask_weight, "dice": mask_weight}

    def __call__(self, queries: Predictions, first_stage: Predictions, objects: Objects) -> dict[str, Tensor]:
        """Weighted losses.

        Returns:
            ``loss_cls``, ``loss_box`` and ``loss_giou`` of the last layer; with ``_aux`` the sums over the layers
            before it, with ``_enc`` those of the first stage.
        """
        count = mean_objects(objects)
        of_layers = self.per_layer(queries, objects, self.assigner, count)
        agnostic = replace(objects, classes=torch.zeros_like(objects.classes))
        of_anchors = self.per_layer(first_stage, agnostic, self.first_stage_assigner, count)
        losses = {f"loss_{k}": v[-1] for k, v in of_layers.items()}
        if len(queries.logits) > 1:
            losses |= {f"loss_{k}_aux": v[:-1].sum() for k, v in of_layers.items()}
        losses |= {f"loss_{k}_enc": v[-1] for k, v in of_anchors.items()}
        return self._weighted(losses)

    def denoising(self, predictions: Predictions, noised: NoisedQueries, objects: Objects) -> dict[str, Tensor]:
        """Weighted losses of noised queries: ``loss_cls_dn``, ``loss_box_dn`` and ``loss_giou_dn``, sums of all layers.

        Args:
            predictions: of these queries.
            noised: the queries.
            objects: that they were made of.
        """
        count = mean_objects(objects) * len(noised.positive)
        of_layers = self.per_layer(noised.silenced(predictions), objects, noised, count)
        return self._weighted({f"loss_{k}_dn": v.sum() for k, v in of_layers.items()})

    def masks(self, head: QueryMasks, queries: Predictions, objects: Objects, bounds: Tensor) -> dict[str, Tensor]:
        """Weighted losses of the masks of the last layer's queries in their own boxes: ``loss_mask``, ``loss_dice``.

        Args:
            head: makes the masks.
            queries: with ``masks``.
            objects: with masks.
            bounds: B x 4 (width, height, width, height) of the images in pixels.
        """
        source = queries.masks
        assert source is not None
        assert objects.masks is not None
        assignment = self.assigner(queries, objects)
        index, valid = assignment.index[-1], assignment.valid[-1]
        boxes = gather_rows(queries.boxes[-1].detach(), index.flatten(1))
        boxes = box_convert(boxes, "cxcywh", "xyxy") * bounds[:, None]
        logits = head(source.pixels, gather_rows(source.features, index.flatten(1)), source.in_cells(boxes))
        goals = cut_masks(objects.masks, boxes.unflatten(1, index.shape[1:]), head.side)
        count = mean_objects(objects)
        losses = mask_losses(logits.view_as(goals), goals, valid)
        return self._weighted({f"loss_{k}": v / count for k, v in losses.items()})

    def _weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value * self.weights[name.split("_")[1]] for name, value in losses.items()}

    def per_layer(
        self, predictions: Predictions, objects: Objects, assigner: Assigner, count: Tensor
    ) -> dict[str, Tensor]:
        """Unweighted losses of each of the D layers, divided by ``count``."""
        assignment = assigner(predictions, objects)
        targets = class_targets(assignment, objects.classes, predictions.logits)
        if self.classification.by_overlap:
            targets = targets * overlaps(predictions, assignment, objects)[..., None]
        box, giou = box_losses(predictions, assignment, objects)
        classes = class_loss(predictions, targets, self.classification)
        return {"cls": classes / count, "box": box / count, "giou": giou / count}
