"""Several evaluators in one pass over the test images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pe_dense.config.errors import did_you_mean
from pe_dense.evaluation.evaluator import Evaluator


class MultiEvaluator:
    """Evaluators of several tasks; an :class:`~pe_dense.evaluation.Evaluator`.

    Where the samples have ``image_ids``, of a data set that was made of several, an evaluator gets those that have an
    id under its name, as their ``image_id``. Else each gets all samples.

    Args:
        evaluators: by name, each of another kind, so that their numbers have different names.

    Raises:
        ValueError: for no evaluator, or two of one kind.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator]) -> None:
        if not evaluators:
            raise ValueError("evaluator is empty: name at least one, or set it to null")
        kinds: dict[type, str] = {}
        for name, evaluator in evaluators.items():
            other = kinds.setdefault(type(evaluator), name)
            if other != name:
                raise ValueError(
                    f"evaluator.{other} and evaluator.{name} are both a {type(evaluator).__name__} and their numbers "
                    f"would have the same names: leave one out, and evaluate on its data in a second call"
                )
        self.evaluators = dict(evaluators)

    def check_names(self, names: Iterable[str]) -> None:
        """Evaluators must be called as the parts of the test data that they score.

        Args:
            names: of the parts.

        Raises:
            ValueError: naming an evaluator that would get no image.
        """
        known = list(names)
        for name in self.evaluators:
            if name not in known:
                raise ValueError(
                    f"evaluator.{name} would get no image: the test data consists of {', '.join(known)}; give it the "
                    f"name of the part that it scores{did_you_mean(name, known)}"
                )

    def reset(self) -> None:
        """Forget everything collected so far."""
        for evaluator in self.evaluators.values():
            evaluator.reset()

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Hand a batch on, to each evaluator the images that it has ground truth of."""
        for name, evaluator in self.evaluators.items():
            own = [(_with_id_of(name, s), output) for s, output in zip(inputs, outputs, strict=True) if _has(name, s)]
            if own:
                evaluator.process([sample for sample, _ in own], [output for _, output in own])

    def evaluate(self) -> dict[str, float]:
        """The numbers of all evaluators; collective.

        Raises:
            ValueError: if an evaluator got no image.
        """
        numbers: dict[str, float] = {}
        for evaluator in self.evaluators.values():
            numbers.update(evaluator.evaluate())
        return numbers


def _has(name: str, sample: Mapping[str, Any]) -> bool:
    return name in sample.get("image_ids", {name: None})


def _with_id_of(name: str, sample: Mapping[str, Any]) -> Mapping[str, Any]:
    ids = sample.get("image_ids")
    return sample if ids is None else {**sample, "image_id": ids[name]}
