"""What classifiers lose: against classes as they are, or against how well the box overlaps its object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss


class ClassLoss(Protocol):
    """Loss of every logit.

    Attributes:
        by_overlap: whether the target of an object's class is the IoU of the predicted box instead of 1.
    """

    by_overlap: ClassVar[bool]

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses of the shape of ``logits`` and ``targets`` (in [0, 1])."""


@dataclass
class Focal:
    """Focal loss (arXiv 1708.02002).

    Attributes:
        alpha: weight of the positive ones, 1 - alpha that of the others.
        gamma: exponent of what is missing in the probability.
    """

    alpha: float = 0.25
    gamma: float = 2.0
    by_overlap: ClassVar[bool] = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See :class:`ClassLoss`."""
        return sigmoid_focal_loss(logits, targets, self.alpha, self.gamma)


@dataclass
class Varifocal:
    """Varifocal loss (arXiv 2008.13367, equation 2): positive ones count as much as their boxes overlap the object.

    Attributes:
        alpha: weight of the negative ones.
        gamma: exponent of their probability.
    """

    alpha: float = 0.75
    gamma: float = 2.0
    by_overlap: ClassVar[bool] = True

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See :class:`ClassLoss`."""
        weights = (self.alpha * logits.detach().sigmoid() ** self.gamma).where(targets == 0, targets)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights


@dataclass
class QualityFocal:
    """Quality focal loss (arXiv 2006.04388, equation 5).

    Attributes:
        beta: exponent of the distance between probability and overlap.
    """

    beta: float = 2.0
    by_overlap: ClassVar[bool] = True

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See :class:`ClassLoss`."""
        distance = (targets - logits.sigmoid()).abs() ** self.beta
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * distance
