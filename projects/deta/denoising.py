"""Queries made of the ground truth, with noise, that learn to find it again (DN-DETR, arXiv 2203.01305)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from projects.deta.assignment import Assignment, Objects
from projects.deta.predictions import Predictions

_NOTHING = -50.0  # logit that costs nothing and has no gradient where there is no object


@dataclass
class Noise:
    """How much, with DINO's numbers (arXiv 2203.03605, sections 3.3 and B).

    Attributes:
        num_queries: noised objects per image, about: a whole number of groups, at least one, of as many as the image
            of the batch with the most objects has.
        label_noise: share of the classes that are drawn anew.
        box_noise: largest shift of a corner, in halves of the box's width and height.
        contrastive: beside each noised object a second one whose corners are shifted further, by one to two times
            ``box_noise``, and which must be told to be none.

    Raises:
        ValueError: for values out of range, or contrastive queries that would lie where the objects are.
    """

    num_queries: int = 100
    label_noise: float = 0.25
    box_noise: float = 1.0
    contrastive: bool = True

    def __post_init__(self) -> None:
        if self.num_queries < 1 or not 0 <= self.label_noise <= 1 or self.box_noise < 0:
            raise ValueError(
                f"denoising: num_queries {self.num_queries} must be at least 1, label_noise {self.label_noise} lie in "
                f"0..1, box_noise {self.box_noise} be 0 or more"
            )
        if self.contrastive and self.box_noise == 0:
            raise ValueError(
                "denoising: box_noise 0 leaves the contrastive queries, which are no objects, where the objects are: "
                "raise it, or set contrastive=False"
            )


@dataclass
class NoisedQueries:
    """N queries for each of B images, in P groups of G, or 2 G, that stand for the G slots of :class:`Objects`.

    Attributes:
        boxes: B x N x 4 (centre x, y, width, height) in fractions of the image.
        features: B x N x C, in place of what the encoder has at a proposal.
        group: N int64.
        valid: B x N bool, False for slots without an object.
        positive: P x G int64, the queries that must find the object of each slot.
    """

    boxes: Tensor
    features: Tensor
    group: Tensor
    valid: Tensor
    positive: Tensor

    def blocked(self, num_queries: int) -> Tensor:
        """What must not see what, so that nothing of the ground truth leaks: (Q + N) x (Q + N) bool.

        Args:
            num_queries: Q, the queries before these. They see each other; a group sees them and itself.
        """
        group = torch.cat([self.group.new_full((num_queries,), -1), self.group])
        return (group >= 0) & (group != group[:, None])

    def unused(self, num_queries: int) -> Tensor:
        """B x (Q + N) bool: slots without an object, which nothing may see."""
        return torch.cat([self.valid.new_zeros(len(self.valid), num_queries), ~self.valid], dim=1)

    def __call__(self, predictions: Predictions, objects: Objects) -> Assignment:
        """An assigner: the positive queries of each object."""
        index = self.positive.T.expand(1, len(objects.valid), -1, -1)
        return Assignment(index, objects.valid[None, ..., None].expand_as(index))

    def silenced(self, predictions: Predictions) -> Predictions:
        """Predictions of these queries such that slots without an object lose nothing."""
        return replace(predictions, logits=predictions.logits.masked_fill(~self.valid[..., None], _NOTHING))


class Denoising(nn.Module):
    """Makes the queries.

    Args:
        noise: how much.
        columns: the classifiers' columns that classes have.
        num_columns: how many there are.
        dim: C.
    """

    def __init__(self, noise: Noise, columns: Sequence[int], num_columns: int, dim: int) -> None:
        super().__init__()
        self.noise, self.columns = noise, list(columns)
        self.class_features = nn.Embedding(num_columns, dim)

    def forward(self, objects: Objects) -> NoisedQueries:
        """Noised queries of a batch."""
        batch, slots = objects.valid.shape
        groups, kinds = max(1, self.noise.num_queries // slots), 1 + self.noise.contrastive
        shape = (batch, groups, kinds, slots)
        boxes = objects.boxes[:, None, None].expand(*shape, 4)
        classes = objects.classes[:, None, None].expand(shape)
        device = boxes.device
        slot = torch.arange(groups * kinds * slots, device=device).view(groups, kinds, slots)
        return NoisedQueries(
            self._noised_boxes(boxes).flatten(1, 3),
            self.class_features(self._noised_classes(classes)).flatten(1, 3),
            torch.arange(groups, device=device).repeat_interleave(kinds * slots),
            objects.valid[:, None, None].expand(shape).flatten(1),
            slot[:, 0],
        )

    def _noised_classes(self, classes: Tensor) -> Tensor:
        columns = torch.tensor(self.columns).to(classes.device, non_blocking=True)
        drawn = columns[torch.randint(len(self.columns), classes.shape, device=classes.device)]
        return torch.where(torch.rand(classes.shape, device=classes.device) < self.noise.label_noise, drawn, classes)

    def _noised_boxes(self, boxes: Tensor) -> Tensor:
        """Corners of B x P x kinds x G x 4 boxes shifted; the second kind's by more than the first's."""
        shift = torch.rand_like(boxes)
        shift[:, :, 1:] += 1
        shift = torch.where(torch.rand_like(boxes) < 0.5, shift, -shift) * (self.noise.box_noise / 2)
        corners = box_convert(boxes, "cxcywh", "xyxy") + shift * boxes[..., [2, 3, 2, 3]]
        low, high = torch.minimum(corners[..., :2], corners[..., 2:]), torch.maximum(corners[..., :2], corners[..., 2:])
        return box_convert(torch.cat([low, high], dim=-1).clamp(0, 1), "xyxy", "cxcywh")
