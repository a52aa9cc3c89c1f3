"""What all tools have in common, and a run and a user's error of each that has no test file of its own."""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.data import CocoDataset
from pe_dense.data.scenes import ScenePaths, write_scenes

from .conftest import ROOT

RunTool = Callable[..., int]
TOOLS = (
    "analyze_model", "benchmark", "convert_checkpoint", "evaluate_results", "evaluate_vos", "make_scenes", "plan_run",
    "plot_run", "predict", "track", "track_video", "train_net", "visualize_data", "visualize_dense",
    "visualize_detections",
    "visualize_features",
)  # fmt: skip
CONFIG = ROOT / "configs" / "demo" / "mask_rcnn_scenes.py"


@pytest.mark.parametrize("name", TOOLS)
def test_help(
    name: str, run_tool: RunTool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parsers: list[argparse.ArgumentParser] = []
    original = argparse.ArgumentParser.format_help
    monkeypatch.setattr(argparse.ArgumentParser, "format_help", lambda self: parsers.append(self) or original(self))
    assert run_tool(name, "--help") == 0
    assert f"python tools/{name}.py" in capsys.readouterr().out
    assert all(action.help for action in parsers[0]._actions)


@pytest.mark.parametrize("name", TOOLS)
def test_help_comes_at_once(name: str) -> None:
    code = (
        f"import runpy, sys\nsys.argv = ['{name}.py', '--help']\ntry:\n    runpy.run_path({str(ROOT)!r} + "
        f"'/tools/{name}.py', run_name='__main__')\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, "PyTorch is imported before the command line is parsed"


def one_line_of_error(capsys: pytest.CaptureFixture[str]) -> str:
    """What a tool wrote to stderr, which must be a single message."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScenePaths:
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    return write_scenes(tmp_path / "scenes", train=4, val=3, size=64, videos=0)


@pytest.fixture
def results(scenes: ScenePaths, tmp_path: Path) -> Path:
    """The ground truth as results, without the first object."""
    annotations = json.loads(scenes.val_json.read_text())["annotations"]
    keys = ("image_id", "category_id", "bbox", "segmentation")
    rows = [{**{k: a[k] for k in keys if isinstance(a[k], list | int)}, "score": 0.9} for a in annotations]
    (tmp_path / "results.json").write_text(
        json.dumps([{k: v for k, v in r.items() if k != "segmentation"} for r in rows[1:]])
    )
    return tmp_path / "results.json"


def test_evaluate_results(
    scenes: ScenePaths, results: Path, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "metrics.json"
    arguments = ["--json-file", scenes.val_json, "--results", results, "--tasks", "bbox"]
    assert run_tool("evaluate_results", *arguments, "--per-class", "--output", output) == 0
    numbers = json.loads(output.read_text())
    assert 80 < numbers["bbox/AP"] <= 100
    printed = capsys.readouterr().out
    assert all(name in printed for name in CocoDataset(scenes.val_json, scenes.val_images).categories.names)
    results.write_text("{}")
    assert run_tool("evaluate_results", *arguments) == 2
    assert "results.json" in one_line_of_error(capsys)
    (tmp_path / "file").touch()
    results.write_text("[]")
    assert run_tool("evaluate_results", *arguments, "--output", tmp_path / "file" / "x.json") == 2
    assert "file" in capsys.readouterr().err


def test_evaluate_lvis_results(
    scenes: ScenePaths, results: Path, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A json of LVIS is known by itself; --protocol decides otherwise."""
    truth = json.loads(scenes.val_json.read_text())
    for image in truth["images"]:
        image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
    for category, frequency in zip(truth["categories"], "rcf" * 10):
        category["frequency"] = frequency
    (tmp_path / "lvis.json").write_text(json.dumps(truth))
    arguments = ["--json-file", tmp_path / "lvis.json", "--results", results, "--tasks", "bbox", "--all-images"]
    assert run_tool("evaluate_results", *arguments) == 0
    printed = capsys.readouterr().out
    assert "APr" in printed
    assert "AR300" in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert run_tool("evaluate_results", *arguments, "--protocol", "coco") == 0
    printed = capsys.readouterr().out
    assert "APr" not in printed
    assert "AR100" in printed
    coco = ["--json-file", scenes.val_json, *arguments[2:]]
    assert run_tool("evaluate_results", *coco, "--protocol", "lvis") == 2
    assert "has no list 'neg_category_ids'" in one_line_of_error(capsys)
    results.write_text(json.dumps([{"image_id": 424242, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}]))
    assert run_tool("evaluate_results", *arguments) == 2
    assert "1 value of image_id (424242) not in the ground truth" in one_line_of_error(capsys)


def test_evaluate_vos(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_scenes(tmp_path / "scenes", train=1, val=1, size=64, videos=2).davis
    results, output = tmp_path / "results", tmp_path / "new" / "scores"
    shutil.copytree(root / "Annotations" / "480p", results)
    arguments = ["--root", root, "--results", results, "--workers", 1]
    assert run_tool("evaluate_vos", *arguments, "--per-object", "--output", output) == 0
    printed = capsys.readouterr().out
    assert "scene_001_1 " in printed
    assert json.loads((output / "vos.json").read_text())["metrics"]["vos/J&F"] == 100
    assert {file.name for file in output.iterdir()} == {"vos.json", "global_results.csv", "per-sequence_results.csv"}
    assert run_tool("evaluate_vos", *arguments, "--split", "all", "--sequences", "scene_000") == 0
    assert "scene" not in capsys.readouterr().out
    for more, message in (
        (["--split", "test-dev"], "test-dev.txt does not exist"),
        (["--sequences", "dog"], "has no sequence dog (1 of 1 missing; there is scene_000, scene_001)"),
        (["--resolution", "1080p"], "there is 480p"),
        (["--results", tmp_path / "nowhere"], "nowhere does not exist"),
    ):
        assert run_tool("evaluate_vos", *arguments, *more) == 2
        assert message in one_line_of_error(capsys)


def test_analyze_model(run_tool: RunTool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    small = [
        "model.num_classes=3", "model.backbone.backbone.depth=1", "dataloader.test.transforms.0.short_edge_length=96",
        "dataloader.test.transforms.0.max_size=96",
    ]  # fmt: skip
    assert run_tool("analyze_model", "--config-file", CONFIG, "--depth", 3, *small) == 0
    printed = capsys.readouterr().out
    assert f"{CONFIG}, one image of 96 x 96\n" in printed
    assert "proposal_generator" in printed
    assert "…" not in printed
    assert all(len(line) <= 80 for line in printed.splitlines()[1:])
    assert run_tool("analyze_model", "--config-file", CONFIG, "--size", 64, 80, *small) == 0
    assert "one image of 64 x 80\n" in capsys.readouterr().out
    assert run_tool("analyze_model", "--config-file", CONFIG, "model.num_clases=3") == 2
    assert "did you mean 'model.num_classes'" in one_line_of_error(capsys)
    assert run_tool("analyze_model", "--config-file", CONFIG, "--size", 0, 64) == 2


def test_make_scenes(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--train", 2, "--val", 1, "--size", 64, "--videos", 1]
    assert run_tool("make_scenes", "--output", tmp_path / "scenes", *small) == 0
    assert "wrote 2 + 1 images and 1 videos" in capsys.readouterr().out
    assert len(list((tmp_path / "scenes" / "train").iterdir())) == 2
    assert run_tool("make_scenes", "--output", tmp_path / "scenes", "--train", -1) == 2
    one_line_of_error(capsys)
    (tmp_path / "file").touch()
    assert run_tool("make_scenes", "--output", tmp_path / "file", *small) == 2
    assert str(tmp_path / "file") in one_line_of_error(capsys)


@pytest.mark.parametrize("split", ["train", "test"])
def test_visualize_data(
    split: str, scenes: ScenePaths, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "sheet.png"
    arguments = ["--config-file", CONFIG, "--split", split, "--num", 2, "--output", picture, f"data.root={scenes.root}"]
    assert run_tool("visualize_data", *arguments) == 0
    assert f"drew 2 samples of the {split} loader" in capsys.readouterr().out
    by_class = cv2.imread(str(picture))
    assert by_class.std() > 10
    assert run_tool("visualize_data", *arguments, "--color-by", "instance") == 0
    assert not np.array_equal(by_class, cv2.imread(str(picture)))
    capsys.readouterr()
    assert run_tool("visualize_data", *arguments, "dataloader.nonsense=1") == 2
    assert "nonsense" in one_line_of_error(capsys)
    assert run_tool("visualize_data", *arguments, f"data.root={tmp_path / 'none'}") == 2
    assert "none" in one_line_of_error(capsys)


def test_visualize_detections(
    scenes: ScenePaths,
    results: Path,
    tmp_path: Path,
    run_tool: RunTool,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    common = ["--json-file", scenes.val_json, "--image-root", scenes.val_images, "--results", results]
    assert run_tool("visualize_detections", *common, "--num", 2, "--output", tmp_path / "a.png") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'}\n"
    options = ["--contact-sheet", "--color-by", "instance"]
    assert run_tool("visualize_detections", *common, "--num", 1, "--output", tmp_path / "a", *options) == 0
    assert len(list((tmp_path / "a").iterdir())) == 2
    assert "no object scored" not in caplog.text
    assert run_tool("visualize_detections", *common, "--output", tmp_path / "c.png", "--score-threshold", 0.95) == 0
    number = len(json.loads(results.read_text()))
    assert f"no object scored 0.95 or more; the highest of {number} was 0.9: lower the score threshold" in caplog.text
    capsys.readouterr()
    (tmp_path / "predictions.json").write_text('{"images": [{"id": 10000001, "file_name": "photo.jpg"}]}')
    for tool in ("visualize_detections", "evaluate_results"):
        drawing = ["--image-root", scenes.val_images] if tool == "visualize_detections" else []
        arguments = ["--json-file", scenes.val_json, "--results", results, "--output", tmp_path / "b.png", *drawing]
        assert run_tool(tool, *arguments) == 2
        assert "results.json holds results of another data set" in one_line_of_error(capsys)
    (tmp_path / "predictions.json").unlink()
    results.write_text('[{"image_id": 987, "category_id": 1, "score": 0.9, "bbox": [1, 2, 3, 4]}]')
    assert run_tool("visualize_detections", *common, "--output", tmp_path / "b.png") == 2
    assert "error: the results are for 1 image" in one_line_of_error(capsys)
    assert not (tmp_path / "b.png").exists()
    results.write_text('{"not": "a list"}')
    assert run_tool("visualize_detections", *common, "--output", tmp_path / "b.png") == 2
    assert "is not a list of detections" in one_line_of_error(capsys)


def test_plot_run(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "lr": 0.1}\n{"step": 1, "bbox/AP": 3.0}\n')
    assert run_tool("plot_run", tmp_path, "--output", tmp_path / "curves.svg") == 0
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    assert run_tool("plot_run", tmp_path / "none", "--output", tmp_path / "curves.png") == 2
    assert "none does not exist; give the output directory of a run" in one_line_of_error(capsys)
    assert run_tool("plot_run", tmp_path, "--output", tmp_path / "curves.xyz") == 2
    assert "cannot write pictures of type '.xyz'; use .png, .pdf, .svg" in one_line_of_error(capsys)
    (tmp_path / "file").touch()
    assert run_tool("plot_run", tmp_path, "--output", tmp_path / "file" / "x.png") == 2
    assert "file" in one_line_of_error(capsys)
