"""Accuracy."""

import pytest
import torch

from pe_dense.evaluation import ClassificationEvaluator


class Data:
    labels = (0, 6, 2, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def file_name(self, index: int) -> str:
        return f"{index}.png"

    def label(self, index: int) -> int:
        return self.labels[index]


def test_top_one_and_five() -> None:
    scores = torch.tensor([
        [9.0, 1, 2, 3, 4, 5, 6],  # first
        [9.0, 8, 7, 6, 5, 4, 3],  # seventh
        [9.0, 8, 7, 6, 5, 4, 3],  # third
        [float("nan")] * 7,
    ])  # fmt: skip
    evaluator = ClassificationEvaluator(Data())
    evaluator.process([{"image_id": i} for i in range(4)], [{"classes": row} for row in scores])
    assert evaluator.evaluate() == {
        "classification/top1": 25.0, "classification/top5": 50.0, "classification/images": 4.0,
    }  # fmt: skip
    evaluator.reset()
    evaluator.process([{"image_id": 3}], [{"classes": torch.zeros(7)}])  # equal scores: class 0 is ahead of 1
    assert evaluator.evaluate()["classification/top1"] == 0
    evaluator.reset()
    with pytest.raises(ValueError, match="no image was processed"):
        evaluator.evaluate()
    with pytest.raises(ValueError, match=r"1\.png: its class index is 6 but the model knows 3 classes"):
        evaluator.process([{"image_id": 1}], [{"classes": torch.zeros(3)}])
    with pytest.raises(ValueError, match="image id 9"):
        evaluator.process([{"image_id": 9}], [{"classes": torch.zeros(3)}])
