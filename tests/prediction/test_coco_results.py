"""The json files."""

import json
from pathlib import Path

import pytest
import torch

from pe_dense.prediction import ResultsWriter
from pe_dense.prediction.coco_results import coco_rows
from pe_dense.structures import Categories, Instances

CATEGORIES = Categories((3, 7), ("cat", "dog"))


def found(**changes: torch.Tensor) -> Instances:
    masks = torch.zeros(1, 10, 20, dtype=torch.bool)
    masks[0, 2:5, 4:8] = True
    fields = {"boxes": torch.tensor([[4.0, 2, 8, 5]]), "classes": torch.tensor([1]), "scores": torch.tensor([0.5])}
    return Instances((10, 20), **{**fields, "masks": masks, **changes})


def image(name: str) -> dict[str, object]:
    return {"file_name": name, "height": 10, "width": 20}


def test_files(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "new", CATEGORIES, {"image_root": "/data\udcff"}) as writer:
        assert writer.add(image("ü.jpg"), found()) == 1
        assert writer.add(image("bad \udcff.jpg"), Instances.empty((10, 20))) == 2
        assert writer.add(image("boxes.jpg"), found(masks=None)) == 3
        spool = (tmp_path / "new" / "predictions.partial.jsonl").read_text()
        assert [json.loads(line)["image"]["id"] for line in spool.splitlines()] == [1, 2, 3]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "coco_instances_results.json", "predictions.json",
    ]  # fmt: skip
    data = json.loads((tmp_path / "new" / "predictions.json").read_text(encoding="utf-8"))
    assert data["info"] == {"image_root": "/data?"}
    assert [i["file_name"] for i in data["images"]] == ["ü.jpg", "bad ?.jpg", "boxes.jpg"]
    assert [(a["id"], a["image_id"], a["category_id"], a["area"]) for a in data["annotations"]] == [
        (1, 1, 7, 12), (2, 3, 7, 12),
    ]  # fmt: skip
    results = json.loads((tmp_path / "new" / "coco_instances_results.json").read_text())
    assert results[1] == {"image_id": 3, "category_id": 7, "bbox": [4, 2, 4, 3], "score": 0.5}


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (found(scores=torch.tensor([float("nan")])), "predictions for x.jpg contain NaN"),
        (found(boxes=torch.tensor([[0, 0, float("inf"), 1]])), "predictions for x.jpg contain NaN"),
        (found(classes=torch.tensor([2])), "predicts class 2 but there are 2 class names"),
        (found(classes=None), "need Instances.classes"),
    ],
)
def test_unusable_predictions(instances: Instances, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        coco_rows(1, "x.jpg", instances, CATEGORIES)


def test_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write into .*file .*choose another output folder"):
        ResultsWriter(tmp_path / "file", CATEGORIES, {})


def test_failed_end_keeps_everything(tmp_path: Path) -> None:
    (tmp_path / "predictions.json.tmp").mkdir()
    writer = ResultsWriter(tmp_path, CATEGORIES, {})
    writer.add(image("a.jpg"), found())
    with pytest.raises(OSError, match=r"the predictions are in .*predictions.partial.jsonl"):
        writer.close()
    assert json.loads((tmp_path / "predictions.partial.jsonl").read_text())["rows"][0]["category_id"] == 7
