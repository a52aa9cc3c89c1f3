"""What the engine expects of a benchmark protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Evaluator(Protocol):
    """Collects a model's outputs image by image and turns them into numbers at the end.

    Every process of a distributed run has its own evaluator and sees its own share of the images.
    """

    def reset(self) -> None:
        """Forget everything collected so far."""

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take one batch: the samples a model was given and, in the same order, what it returned for them."""

    def evaluate(self) -> dict[str, float]:
        """Numbers over the images of all processes, the same in each: a flat dict such as ``{"bbox/AP": 41.2}``.

        Collective: every process calls it.
        """
        ...
