"""How the classes of regions are learnt: one of them, or each by itself as in a federated data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClassLoss(Protocol):
    """What a box predictor needs; a module."""

    def __call__(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Mean over the regions that count.

        Args:
            logits: R x (K+1), background last.
            classes: R, K for background, -1 for regions that do not count.
        """

    def probabilities(self, logits: Tensor) -> Tensor:
        """R x (K+1) logits to R x K probabilities."""


class SoftmaxLoss(nn.Module):
    """Every region has one class or is background: cross-entropy over all of them (Fast R-CNN, section 2.3)."""

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        """See :class:`ClassLoss`."""
        return F.cross_entropy(logits, classes, ignore_index=-1, reduction="sum") / _count(classes)

    def probabilities(self, logits: Tensor) -> Tensor:
        """See :class:`ClassLoss`."""
        return logits.softmax(dim=1)[:, :-1]


class FederatedLoss(nn.Module):
    """Every class for itself, on a few classes at a time, for data sets that are not searched for all classes.

    Binary cross-entropy over the classes of the regions of this step and others drawn at random, without repetition and
    with a probability proportional to their weight (CenterNet2, arXiv 2103.07461, section 4.4). As in detectron2, and
    so in the released LVIS detectors: the sum over the classes is averaged over the regions; background counts as one
    of the ``num_sampled`` where there is some, and its logit is neither learnt nor used.

    Args:
        num_classes: K, background not counted.
        image_counts: K numbers of training images with each class, such as
            :func:`~pe_dense.data.class_image_counts` reads; ``None`` draws all alike until weights are loaded.
        power: exponent of the counts that gives the weights.
        num_sampled: classes of a step.

    Raises:
        ValueError: if the counts are not one per class, or one is negative.
    """

    class_weights: Tensor

    def __init__(
        self,
        num_classes: int,
        image_counts: Sequence[int] | None = None,
        power: float = 0.5,
        num_sampled: int = 50,
    ) -> None:
        super().__init__()
        counts = [1] * num_classes if image_counts is None else list(image_counts)
        if len(counts) != num_classes:
            raise ValueError(
                f"image_counts has {len(counts)} numbers for {num_classes} classes; set num_classes of the model and "
                "of its class_loss to the number of classes of the json that is counted"
            )
        if min(counts, default=0) < 0:
            raise ValueError(f"image_counts has the negative number {min(counts)}; give numbers of images")
        self.num_classes = num_classes
        self.num_sampled = num_sampled
        self._weights = [float(count) ** power for count in counts]
        self.register_buffer("class_weights", torch.empty(num_classes))
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        self.class_weights.copy_(torch.tensor(self._weights))

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        """See :class:`ClassLoss`."""
        used = self.sample(classes)[:-1] & (classes >= 0)[:, None]
        # background and regions that do not count get the last column, which is left out: their goals are all zero
        goals = F.one_hot(classes.where(classes >= 0, self.num_classes), self.num_classes + 1)[:, :-1]
        loss = F.binary_cross_entropy_with_logits(logits[:, :-1], goals.to(logits.dtype), reduction="none")
        return (loss * used).sum() / _count(classes)

    def probabilities(self, logits: Tensor) -> Tensor:
        """See :class:`ClassLoss`."""
        return logits[:, :-1].sigmoid()

    @torch.no_grad()
    def sample(self, classes: Tensor) -> Tensor:
        """Which classes a step learns from: K+1 bool, background last.

        Works without waiting for the device; draws from torch's global random state of the weights' device.

        Args:
            classes: R, K for background, -1 for regions that do not count.
        """
        present = self.class_weights.new_zeros(self.num_classes + 2, dtype=torch.bool)
        present[classes.where(classes >= 0, self.num_classes + 1)] = True
        present = present[:-1]
        # the largest of weight / exponential noise are a draw without repetition (Efraimidis and Spirakis 2006)
        noise = torch.empty_like(self.class_weights).exponential_()
        key = F.pad(self.class_weights / noise, (0, 1)).masked_fill(present, torch.inf)
        best = key.topk(min(self.num_sampled, len(key)))
        return present.scatter(0, best.indices, best.values > 0) | present


def _count(classes: Tensor) -> Tensor:
    return (classes >= 0).sum().clamp(min=1)
