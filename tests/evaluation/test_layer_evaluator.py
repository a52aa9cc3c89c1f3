"""A copy of an evaluator for each layer."""

from typing import Any

import pytest
import torch

from pe_dense.evaluation import LayerEvaluator, SemSegEvaluator


class Data:
    classes = ("sky", "sea")

    def __len__(self) -> int:
        return 2

    def file_name(self, index: int) -> str:
        return f"{index}.png"

    def read_sem_seg(self, index: int) -> Any:
        return torch.tensor([[0, 1], [1, 1]], dtype=torch.uint8).numpy()


def test_each_layer_is_scored_as_if_alone() -> None:
    samples = [{"image_id": i} for i in range(2)]
    right, wrong = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 1], [0, 1]])
    evaluator = LayerEvaluator(SemSegEvaluator(Data(), boundary=None))
    evaluator.reset()
    for sample in samples:
        evaluator.process([sample], [{4: {"sem_seg": right}, 12: {"sem_seg": wrong}}])
    found = evaluator.evaluate()
    alone = SemSegEvaluator(Data(), boundary=None)
    alone.process(samples, [{"sem_seg": wrong}] * 2)
    expected = {f"layer_12/{k}": v for k, v in alone.evaluate().items() if "IoU-" not in k}
    assert {k: v for k, v in found.items() if k.startswith("layer_12")} == expected
    assert found["layer_04/sem_seg/mIoU"] == 100
    evaluator.reset()
    with pytest.raises(ValueError, match="no layer can be evaluated"):
        evaluator.evaluate()


def test_copies_share_the_ground_truth() -> None:
    data = Data()
    evaluator = LayerEvaluator(SemSegEvaluator(data))
    evaluator.process([], [])
    evaluator.process([{"image_id": 0}], [{0: {"sem_seg": torch.zeros(2, 2)}, 1: {"sem_seg": torch.zeros(2, 2)}}])
    assert all(copy.dataset is data for copy in evaluator._layers.values())  # type: ignore[attr-defined]
