"""Saved depth and label maps: scored and drawn by the tools, from a config."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pe_dense.data.scenes import ScenePaths, write_scenes
from pe_dense.evaluation import DenseEvaluator, load_dense_evaluator

RunTool = Callable[..., int]

CONFIG = """
from pe_dense.config import LazyCall as L
from pe_dense.data import DepthList, SemSegFolder
from pe_dense.evaluation import DepthEvaluator, SemSegEvaluator

depth = L(DepthEvaluator)(dataset=L(DepthList)(images={images!r}, depths={depths!r}), max_depth=20.0, save=True)
sem_seg = L(SemSegEvaluator)(dataset=L(SemSegFolder)(image_root={images!r}, label_root={labels!r}, classes={classes!r}))
evaluator = {task}
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes", train=0, val=3, size=64, videos=0)


def write_config(folder: Path, scenes: ScenePaths, task: str) -> Path:
    file = folder / f"{task}.py"
    classes = [c["name"] for c in json.loads(scenes.sem_seg_classes.read_text())]
    text = CONFIG.format(
        images=str(scenes.val_images), depths=str(scenes.val_depth), labels=str(scenes.val_sem_seg),
        classes=classes, task=task,
    )  # fmt: skip
    file.write_text(text)
    return file


def save_predictions(evaluator: DenseEvaluator, folder: Path) -> dict[str, float]:
    """What a model that is a little off gives, saved by an evaluator of the same kind."""
    saving = type(evaluator)(evaluator.dataset, output_dir=folder, save=True)  # type: ignore[call-arg]
    if hasattr(saving, "max_depth"):
        saving.max_depth = 20.0
    data = evaluator.dataset
    for i in range(len(data)):
        if hasattr(data, "read_depth"):
            output = {"depth": torch.from_numpy(data.read_depth(i) * 1.1)}
        else:
            output = {"sem_seg": torch.from_numpy(np.roll(data.read_sem_seg(i), 2, 1).astype(np.int64) % 250)}
        saving.process([{"image_id": i}], [output])
    return saving.evaluate()


@pytest.mark.parametrize("task", ["depth", "sem_seg"])
def test_score_and_draw(
    task: str, scenes: ScenePaths, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, scenes, task)
    expected = save_predictions(load_dense_evaluator(config), tmp_path / "run")
    arguments = ["--config-file", config, "--results", tmp_path / "run" / task]
    output = tmp_path / "numbers.json"
    assert run_tool("evaluate_results", *arguments, "--output", output, "--per-class") == 0
    numbers = json.loads(output.read_text())
    key = {"depth": "depth/abs_rel", "sem_seg": "sem_seg/mIoU"}[task]
    assert numbers[key] == pytest.approx(expected[key], rel=1e-2)
    assert key.split("/")[1] in capsys.readouterr().out
    sheet = tmp_path / "sheet.png"
    assert run_tool("visualize_dense", *arguments, "--output", sheet, "--num", 2) == 0
    assert capsys.readouterr().out == f"{sheet}\n"
    assert cv2.imread(str(sheet)) is not None
    assert run_tool("visualize_dense", *arguments, "--output", tmp_path / "all", "--num", 0, "--contact-sheet") == 0
    assert len(list((tmp_path / "all").iterdir())) == 4


def test_overrides_and_point_clouds(
    scenes: ScenePaths, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, scenes, "depth")
    save_predictions(load_dense_evaluator(config), tmp_path / "run")
    arguments = ["--config-file", config, "--results", tmp_path / "run" / "depth"]
    output = tmp_path / "numbers.json"
    assert run_tool("evaluate_results", *arguments, "--output", output, "evaluator.alignment=median") == 0
    assert json.loads(output.read_text())["depth/abs_rel"] < 2e-3
    clouds = [*arguments, "--output", tmp_path / "clouds", "--num", 1, "--point-clouds"]
    assert run_tool("visualize_dense", *clouds) == 2
    assert "does not know the focal length of" in capsys.readouterr().err
    assert run_tool("visualize_dense", *clouds, "--field-of-view", 49) == 0
    assert sorted(p.suffix for p in (tmp_path / "clouds").iterdir()) == [".ply", ".ply", ".png"]
    assert run_tool("visualize_dense", *clouds, "--output", tmp_path / "x.png") == 2
    assert "give results of depth and a folder" in capsys.readouterr().err


def test_errors_of_the_user(
    scenes: ScenePaths, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    depth, sem_seg = (write_config(tmp_path, scenes, task) for task in ("depth", "sem_seg"))
    save_predictions(load_dense_evaluator(depth), tmp_path / "run")
    folder = tmp_path / "run" / "depth"
    for tool, more in (("evaluate_results", []), ("visualize_dense", ["--output", tmp_path / "x.png"])):
        assert run_tool(tool, "--config-file", sem_seg, "--results", folder, *more) == 2
        assert 'not "sem_seg"' in capsys.readouterr().err
        assert run_tool(tool, "--config-file", depth, "--results", tmp_path / "none", *more) == 2
        assert "results index file" in capsys.readouterr().err
    assert run_tool("evaluate_results", "--json-file", depth, "--results", folder, "evaluator.save=false") == 2
    assert "there is no --config-file" in capsys.readouterr().err
    other = tmp_path / "other.py"
    other.write_text("x = 1\n")
    assert run_tool("evaluate_results", "--config-file", other, "--results", folder) == 2
    assert "has no evaluator of depth or semantic segmentation" in capsys.readouterr().err
