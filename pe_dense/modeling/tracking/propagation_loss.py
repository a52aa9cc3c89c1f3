"""What a frame's true masks say about labels that are propagated to it from another frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pe_dense.modeling.tracking.label_propagation import LabelPropagation, Tile, outside, tiles

VOID = 255
"""Label of what belongs to nothing."""


@dataclass(frozen=True)
class PropagationLoss:
    """Cross-entropy between propagated and true labels.

    A token of the target copies the labels of the tokens of a reference frame by the softmax of its cosines with them,
    and the copy is compared with the truth (arXiv 1806.09594, section 3, which copies colours; here the labels are the
    objects of the masks, as in tracking). As in tracking only tokens in the neighbourhood are copied from (arXiv
    2002.07793, section 3), but all of them: what is not among the best ones must get a gradient too. With hard labels

        loss = log sum_j exp(c_j / temperature) - log sum_{j: label_j = truth} exp(c_j / temperature).

    Attributes:
        temperature: cosines c are divided by it.

    Raises:
        ValueError: if it is not positive.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, it is {self.temperature:g}")

    def __call__(
        self, target: Tensor, source: Tensor, truth: Tensor, labels: Tensor, propagation: LabelPropagation
    ) -> tuple[Tensor, Tensor]:
        """Losses of the tokens of the target, and which of them count.

        A token does not count if its true label is :data:`VOID`, or has no token of the source in its neighbourhood:
        an object that appears, or comes from farther away, cannot be copied. Void tokens are not copied from.

        Args:
            target: tokens h x w x C, L2-normalised.
            source: tokens of the reference frame, alike.
            truth: h x w int64, labels of the target.
            labels: h x w int64, labels of the source.
            propagation: ``radius``, ``neighborhood`` and ``tile``.

        Returns:
            Losses of the h w tokens, tile by tile, 0 where they do not count; bool alike.
        """
        grid = (int(target.shape[0]), int(target.shape[1]))
        parts = [
            self._of_tile(target[tile], source[reach], truth[tile], labels[reach], (tile, reach), propagation)
            for tile, reach in tiles(grid, propagation)
        ]
        losses, counts = (torch.cat(part) for part in zip(*parts))
        return losses, counts

    def _of_tile(
        self,
        target: Tensor,
        source: Tensor,
        truth: Tensor,
        labels: Tensor,
        place: tuple[Tile, Tile],
        propagation: LabelPropagation,
    ) -> tuple[Tensor, Tensor]:
        given, wanted = labels.flatten(), truth.flatten()
        ignored = (given == VOID)[None].expand(len(wanted), -1)
        if propagation.radius:
            ignored = ignored | outside(*place, propagation, target.device)
        wrong = ignored | (given[None] != wanted[:, None])
        counts = (wanted != VOID) & ~wrong.all(1)
        logits = (target.flatten(0, 1) @ source.flatten(0, 1).T) / self.temperature
        # rows that do not count keep all sources: without any, the gradient of their 0 would be NaN
        every = logits.masked_fill(ignored & counts[:, None], -math.inf).logsumexp(1)
        right = logits.masked_fill(wrong & counts[:, None], -math.inf).logsumexp(1)
        return (every - right) * counts, counts
