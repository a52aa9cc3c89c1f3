"""Several evaluators in one pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pe_dense.evaluation import Evaluator, MultiEvaluator


class Ids:
    """Says which image ids it was given."""

    name = "ids"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def reset(self) -> None:
        self.seen = []

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        assert len(inputs) == len(outputs) > 0
        self.seen += [sample["image_id"] for sample in inputs]
        assert all(output["of"] == sample["file_name"] for sample, output in zip(inputs, outputs))

    def evaluate(self) -> dict[str, float]:
        return {f"{self.name}/images": float(len(self.seen))}


class Others(Ids):
    name = "others"


def sample(name: str, **more: Any) -> dict[str, Any]:
    return {"file_name": name, "image_id": 7, **more}


def test_each_gets_the_images_of_its_name() -> None:
    a, b = Ids(), Others()
    evaluator = MultiEvaluator({"a": a, "b": b})
    assert isinstance(evaluator, Evaluator)
    batch = [
        sample("x"),
        sample("y", image_ids={"a": 1}),
        sample("z", image_ids={"a": 2, "b": 3}),
        sample("w", image_ids={"c": 4}),
    ]
    evaluator.process(batch, [{"of": s["file_name"]} for s in batch])
    assert (a.seen, b.seen) == ([7, 1, 2], [7, 3])
    assert batch[1]["image_id"] == 7
    assert evaluator.evaluate() == {"ids/images": 3, "others/images": 2}
    evaluator.reset()
    assert (a.seen, b.seen) == ([], [])


def test_unusable_evaluators() -> None:
    with pytest.raises(ValueError, match="evaluator is empty"):
        MultiEvaluator({})
    with pytest.raises(ValueError, match=r"evaluator\.a and evaluator\.b are both a Ids"):
        MultiEvaluator({"a": Ids(), "b": Ids()})
    evaluator = MultiEvaluator({"depht": Ids()})
    evaluator.check_names(["depht"])
    with pytest.raises(ValueError, match=r"evaluator\.depht would get no image: .* nyu, depth; .*did you mean 'depth'"):
        evaluator.check_names(["nyu", "depth"])
