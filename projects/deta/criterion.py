"""From predictions and ground truth to named losses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from projects.deta.assignment import Assigner, Objects, OverlapAssigner
from projects.deta.losses import box_losses, class_loss, class_targets, mean_objects
from projects.deta.predictions import Predictions


class Criterion:
    """The losses of DETA: queries learn classes, the first stage learns only what is an object (column 0).

    Args:
        assigner: of queries to objects; ``None`` takes DETA's, for ``num_queries``.
        first_stage_assigner: of anchors to objects; ``None`` takes DETA's.
        num_queries: of the model.
        class_weight, box_weight, giou_weight: of the focal, L1 and generalised-IoU losses, on every layer alike.
    """

    def __init__(
        self,
        assigner: Assigner | None = None,
        first_stage_assigner: Assigner | None = None,
        num_queries: int = 900,
        class_weight: float = 1.0,
        box_weight: float = 5.0,
        giou_weight: float = 2.0,
    ) -> None:
        self.assigner = assigner or OverlapAssigner.second_stage(num_queries)
        self.first_stage_assigner = first_stage_assigner or OverlapAssigner.first_stage()
        self.weights = {"cls": class_weight, "box": box_weight, "giou": giou_weight}

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
        return {name: value * self.weights[name.split("_")[1]] for name, value in losses.items()}

    @staticmethod
    def per_layer(predictions: Predictions, objects: Objects, assigner: Assigner, count: Tensor) -> dict[str, Tensor]:
        """Unweighted losses of each of the D layers, divided by ``count``."""
        assignment = assigner(predictions, objects)
        targets = class_targets(assignment, objects.classes, predictions.logits)
        box, giou = box_losses(predictions, assignment, objects)
        return {"cls": class_loss(predictions, targets) / count, "box": box / count, "giou": giou / count}
