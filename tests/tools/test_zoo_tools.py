"""The model zoo on the command line, with a small detector in it."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pe_dense.config import instantiate, load_config, save_config, to_yaml
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import Checkpoint, save_checkpoint
from pe_dense.model_zoo import MIRROR, Entry
from pe_dense.modeling.detection.released import to_detectron2

from .conftest import ROOT

RunTool = Callable[..., int]
SMALL = [
    "model.num_classes=3", "model.test_score_thresh=0.0", "model.backbone.backbone.depth=1",
    "model.backbone.backbone.embed_dim=32", "model.backbone.backbone.mlp_dim=32", "model.backbone.out_channels=32",
    "model.conv_dim=32", "model.fc_dim=32", "model.test_topk_per_image=5", "dataloader.test.num_workers=0",
    "dataloader.test.transforms.0.short_edge_length=64", "dataloader.test.transforms.0.max_size=64",
]  # fmt: skip


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with scenes and a mirror that has a detector of their classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    paths = write_scenes(tmp_path / "scenes", train=2, val=2, size=64, videos=0)
    categories = json.loads(paths.val_json.read_text())["categories"]
    names = tmp_path / "scenes.json"
    names.write_text(json.dumps(categories))
    cfg = load_config(ROOT / "configs" / "demo" / "mask_rcnn_scenes.py", SMALL)
    cfg.model.num_classes = len(categories)
    cfg.data.root = str(tmp_path / "scenes")
    save_config(cfg, tmp_path / "recipe.yaml")
    torch.manual_seed(0)
    (tmp_path / "mirror").mkdir()
    model = instantiate(cfg.model)
    torch.save({"model": to_detectron2(model.state_dict())}, tmp_path / "mirror" / "small.pth")
    save_checkpoint(Checkpoint(tmp_path / "x.safetensors", model.state_dict(), 0, to_yaml(cfg), categories, {}))
    entry = Entry("small_rcnn", "small.pth", str(tmp_path / "recipe.yaml"), str(names.with_suffix("")))
    monkeypatch.setattr("pe_dense.model_zoo.entries.ENTRIES", (entry,))
    monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))
    return tmp_path


def test_predict(zoo: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("photo.png", np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    common = ["photo.png", "--score-threshold", "0", "--device", "cpu", "--output"]
    assert run_tool("predict", "--zoo", "small_rcnn", *common, "zoo") == 0
    assert run_tool("predict", "--checkpoint", "x.safetensors", *common, "checkpoint") == 0
    capsys.readouterr()
    found, expected = (json.loads((zoo / p / "predictions.json").read_text()) for p in ("zoo", "checkpoint"))
    assert len(found["annotations"]) == 5
    assert found["annotations"] == expected["annotations"]
    assert found["categories"] == expected["categories"]
    assert run_tool("predict", "--zoo", "small_cnn", *common, "other") == 2
    assert "error: no model is called 'small_cnn' in the model zoo; did you mean small_rcnn?" in capsys.readouterr().err
    assert run_tool("predict", "--zoo", "small_rcnn", "--checkpoint", "x", *common, "other") == 2
    assert "--zoo brings its own weights" in capsys.readouterr().err


def test_augmentation(zoo: Path, run_tool: RunTool) -> None:
    """As docs/model_zoo.md says it: several sizes of the original image."""
    cv2.imwrite("photo.png", np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    tta = "model.tta={_target_: pe_dense.modeling.detection.DetectionTTA, sizes: [48, 64], decay: linear, topk: 7}"
    command = ["predict", "--zoo", "small_rcnn", "photo.png", "--score-threshold", "0", "--device", "cpu"]
    assert run_tool(*command, "--output", "tta", tta, "dataloader.test.transforms=[]") == 0
    found = json.loads((zoo / "tta" / "predictions.json").read_text())["annotations"]
    assert len(found) == 7  # of 4 views with 5 each
    assert all(row["segmentation"] for row in found)


def test_evaluate(zoo: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool("train_net", "--eval-only", "--zoo", "small_rcnn", "train.device=cpu") == 0
    assert "small.pth: computing the SHA-256" in capsys.readouterr().err  # takes a while
    (zoo / "run").mkdir()
    command = ["--config-file", "recipe.yaml", "--checkpoint", "x.safetensors", "train.device=cpu"]
    assert run_tool("train_net", "--eval-only", *command, "train.precision=fp32", "--output", "run") == 0
    record, expected = (
        json.loads((zoo / folder / "evaluation.json").read_text())
        for folder in ("output/zoo/small_rcnn/inference", "run")
    )
    assert record["checkpoint"] == str(zoo / "mirror" / "small.pth")
    assert record["config"]["model"]["weights"] == str(zoo / "mirror" / "small.pth")
    assert record["results"] == expected["results"]
    capsys.readouterr()
    (zoo / "mirror" / "small.pth").unlink()  # is not needed to look at the settings
    assert run_tool("train_net", "--eval-only", "--zoo", "small_rcnn", "--print-config") == 0
    assert "output/zoo/small_rcnn" in capsys.readouterr().out
    assert run_tool("train_net", "--zoo", "small_rcnn") == 2
    assert "--zoo goes with --eval-only" in capsys.readouterr().err


def test_data_of_other_categories(zoo: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    path = zoo / "scenes" / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "another"
    path.write_text(json.dumps(content))
    assert run_tool("train_net", "--eval-only", "--zoo", "small_rcnn", "train.device=cpu") == 2
    assert "small.pth" in (text := capsys.readouterr().err)
    assert "another" in text
    assert not (zoo / "output" / "zoo" / "small_rcnn" / "inference" / "evaluation.json").exists()


def test_export(zoo: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool("convert_checkpoint", "x.safetensors", "--output", "d2.pth", "--layout", "detectron2") == 0
    assert capsys.readouterr().out.startswith("d2.pth: ")
    ours, theirs = (torch.load(zoo / name)["model"] for name in ("d2.pth", "mirror/small.pth"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert run_tool("convert_checkpoint", "x.safetensors", "--output", "d2.pt", "--layout", "detectron2") == 2
    assert "error: d2.pt must end in .pth" in capsys.readouterr().err
