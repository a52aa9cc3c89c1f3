"""Classification by the nearest neighbours among labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_QUERIES = 1024  # compared at a time


@dataclass(frozen=True)
class KnnClassifier:
    """Weighted vote of the nearest neighbours (arXiv 1805.01978, section 3.4; the protocol of DINO, arXiv 2104.14294).

    The vote of a neighbour for its class is exp(cosine / temperature).

    Attributes:
        k: neighbours; all images if there are fewer.
        temperature: of the votes; DINO's is 0.07.

    Raises:
        ValueError: for a value that is not positive.
    """

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        for name in ("k", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"knn.{name} must be greater than 0, it is {getattr(self, name)}")

    def __call__(self, queries: Tensor, bank: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        """Share of the votes of each class.

        Args:
            queries: Q x C.
            bank: N x C, the labelled images.
            labels: N class indices.
            num_classes: K.

        Returns:
            Q x K float32, rows sum up to 1.
        """
        bank = F.normalize(bank.float(), dim=1)
        found = [self._vote(part, bank, labels, num_classes) for part in queries.split(_QUERIES)]
        return torch.cat(found)

    def _vote(self, queries: Tensor, bank: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        cosines, nearest = (F.normalize(queries.float(), dim=1) @ bank.T).topk(min(self.k, len(bank)), dim=1)
        weights = (cosines / self.temperature).softmax(1)  # the votes, scaled: no overflow at low temperatures
        return torch.zeros(len(queries), num_classes, device=bank.device).scatter_add_(1, labels[nearest], weights)
