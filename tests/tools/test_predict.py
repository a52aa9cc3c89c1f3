"""The prediction tool and what it loads, with a real detector of random weights."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pe_dense.config import instantiate, load_config, save_config, to_yaml
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import Checkpoint, load_checkpoint, save_checkpoint
from pe_dense.prediction import load_predictor

from .conftest import ROOT

RunTool = Callable[..., int]
TOOL = ROOT / "tools" / "predict.py"
CONFIG = ROOT / "configs" / "demo" / "mask_rcnn_scenes.py"
SMALL = [
    "model.num_classes=2", "model.test_score_thresh=0.0", "model.backbone.backbone.depth=1",
    "model.backbone.backbone.embed_dim=32", "model.backbone.backbone.mlp_dim=32", "model.backbone.out_channels=32",
    "model.conv_dim=32", "model.fc_dim=32", "model.test_topk_per_image=5",
    "dataloader.test.transforms.0.short_edge_length=64", "dataloader.test.transforms.0.max_size=64",
]  # fmt: skip
CLASSES = [{"id": 4, "name": "nut"}, {"id": 9, "name": "bolt"}]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    cfg = load_config(CONFIG, SMALL)
    torch.manual_seed(0)
    weights = instantiate(cfg.model).state_dict()
    save_checkpoint(Checkpoint(path, weights, 0, to_yaml(cfg), CLASSES, {}))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo 1.png"), pixels)
    return tmp_path / "photo 1.png"


def test_program(checkpoint: Path, image: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    command = [sys.executable, TOOL, "--checkpoint", checkpoint, image, tmp_path / "bad.jpg", "--output", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command), "--score-threshold", "0", "--device", "cpu", "model.test_topk_per_image=3"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["out/predictions.json"]
    assert "bad.jpg cannot be decoded" in done.stderr
    assert "3 objects in 1 image; skipped, because they could not be read: 1" in done.stderr
    assert (tmp_path / "out" / "photo 1.png").is_file()
    data = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert data["categories"] == CLASSES
    assert data["annotations"][0]["segmentation"]["size"] == [50, 70]


def test_config_and_options(checkpoint: Path, image: Path, tmp_path: Path, run_tool: RunTool) -> None:
    odd = image.rename(tmp_path / "train.lr=3.png")  # a file wins over an override
    arguments = ["--checkpoint", checkpoint, "--config-file", CONFIG, *SMALL, odd, "--output", tmp_path / "out"]
    options = ["--format", "jpg", "--score-threshold", "0.1", "--batch-size", "2", "--device", "cpu"]
    assert run_tool("predict", *arguments, *options) == 0
    assert (tmp_path / "out" / "train.lr=3.jpg").is_file()
    assert run_tool("predict", *arguments, "--no-draw", "--output", tmp_path / "bare", "--device", "cpu") == 0
    assert not list((tmp_path / "bare").glob("*.png"))
    assert json.loads((tmp_path / "bare" / "predictions.json").read_text())["info"]["score_threshold"] == 0.5


def test_errors_are_one_message(
    checkpoint: Path, image: Path, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "names.json").write_text('{"categories": [{"id": 1, "name": "a"}]}')
    (tmp_path / "list.json").write_text("[1]")
    good = ["--checkpoint", checkpoint, image, "--output", tmp_path / "out", "--device", "cpu"]
    for arguments, message in (
        ([image, "--output", "x"], "give --checkpoint, --config-file, or both"),
        (["--checkpoint", "nix.pt", image, "--output", "x"], "checkpoint nix.pt does not exist"),
        (["--checkpoint", checkpoint, "train.seed=3", "--output", "x"], "give at least one image"),
        (["--config-file", CONFIG, *SMALL, image, "--output", "x"], "names no weights: give a checkpoint too"),
        (["--checkpoint", checkpoint, tmp_path / "bad.mp4", "--output", tmp_path / "out"], "none of the 1 inputs"),
        (["--checkpoint", "nix.pt", "nix.jpg", "--output", "x"], "pattern match: nix.jpg"),  # before a model is loaded
        ([*good, "nix.jpg"], "no image, video, folder or pattern match: nix.jpg"),
        ([*good, "model.num_clases=3"], "did you mean 'model.num_classes'"),
        ([*good, "model.num_classes=3"], "do not fit the model of this config"),
        ([*good, "--score-threshold", "50"], "must lie between 0 and 1, it is 50"),
        ([*good, "--device", "gpu"], 'device "gpu" is not a device'),
        ([*good, "--every", "0"], "every must be at least 1"),
        ([*good, "--class-names", tmp_path / "names.json"], "the model has 2 classes but there are 1 class names"),
        ([*good, "--class-names", tmp_path / "list.json"], "has no list 'categories'"),
    ):
        assert run_tool("predict", *arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


def test_ctrl_c(
    checkpoint: Path, image: Path, tmp_path: Path, run_tool: RunTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pe_dense.prediction.files.save_image", interrupted)
    assert run_tool("predict", "--checkpoint", checkpoint, image, "--output", tmp_path / "out") == 130
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 1


def test_run_folder_and_nothing_above_the_threshold(
    checkpoint: Path, image: Path, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", checkpoint.parent, image, "--device", "cpu", "--color-by", "instance"]
    assert run_tool("predict", *arguments, "--output", tmp_path / "out", "--score-threshold", 1) == 0
    told = capsys.readouterr().err
    assert f"weights of {checkpoint}" in told
    assert re.search(r"no object scored 1 or more; the highest of 5 was 0\.\d+: lower the score threshold", told)
    assert run_tool("predict", "--checkpoint", tmp_path, image, "--output", tmp_path / "out") == 2
    assert f"folder {tmp_path} holds no checkpoint" in capsys.readouterr().err


def test_class_names_unknown(checkpoint: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.safetensors"
    save_checkpoint(replace(load_checkpoint(checkpoint), path=old, categories=None))
    categories = load_predictor(old, device="cpu").categories
    assert categories is not None
    assert (categories.ids, categories.names) == ((1, 2), ("class_1", "class_2"))
    (tmp_path / "names.json").write_text(json.dumps({"categories": CLASSES}))
    named = load_predictor(old, device="cpu", class_names=tmp_path / "names.json").categories
    assert named is not None
    assert named.to_json() == CLASSES


def test_depth_and_its_scores(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    scenes = write_scenes(tmp_path / "scenes", train=0, val=2, size=64, videos=0)
    cfg = load_config(
        ROOT / "configs" / "scenes" / "depth_small.py",
        ["model.backbone.backbone.depth=1", "model.backbone.layers=[0]", f"data.root={tmp_path / 'scenes'}"],
    )
    run = tmp_path / "run"
    run.mkdir()
    save_config(cfg, run / "config.yaml")
    torch.manual_seed(0)
    save_checkpoint(
        Checkpoint(run / "best.safetensors", instantiate(cfg.model).state_dict(), 0, to_yaml(cfg), None, {})
    )
    arguments = ["--checkpoint", run / "best.safetensors", scenes.val_images, "--device", "cpu"]
    out = tmp_path / "out"
    assert run_tool("predict", *arguments, "--output", out, "--point-clouds", "--field-of-view", 50) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{out / 'depth' / 'predictions.json'}\n"
    assert "depth in 2 images" in shown.err
    assert "class names" not in shown.err
    assert len(list((out / "point_clouds").glob("*.ply"))) == len(list(out.glob("*.png"))) == 2
    assert json.loads((out / "depth" / "predictions.json").read_text())["images"][0]["scale"] == 1000
    for tool, more in (("evaluate_results", ()), ("visualize_dense", ("--output", tmp_path / "sheet.png"))):
        assert run_tool(tool, "--config-file", run / "config.yaml", "--results", out / "depth", *more) == 0
    assert "abs_rel" in capsys.readouterr().out
    for options, message in (
        (["--point-clouds"], "belong together"),
        (["--intrinsics", 50, 50, 32, 32], "belong together"),
        (["--depth-range", 3, 1], "must be ascending, it is 3 to 1"),
    ):
        assert run_tool("predict", *arguments, "--output", out, *options) == 2
        assert message in capsys.readouterr().err
