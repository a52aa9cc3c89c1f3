"""The tool that exports models."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pe_dense.deployment import read_facts

from .conftest import ROOT

RunTool = Callable[..., int]
CHANGES = ["model.num_classes=3", "model.backbone.backbone.global_blocks=[1]"]


def test_the_pyramid_of_a_recipe(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ["--config-file", ROOT / "configs" / "demo" / "mask_rcnn_scenes.py", "--random-weights"]
    paths = [tmp_path / "p.pt2", tmp_path / "p.onnx"]
    assert run_tool("export", *recipe, "--image-size", 96, 160, "--output", *paths, *CHANGES) == 0
    found = capsys.readouterr()
    assert "the weights of " in found.err
    lines = found.out.splitlines()
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == [str(path) for path in paths]
    assert [line.split()[0] for line in lines if line.startswith(" ")] == 2 * ["p4", "p5", "p6"]
    facts = read_facts(paths[1])
    assert facts["model"] == "FeaturePyramid"
    assert facts["source"].endswith("mask_rcnn_scenes.py")
    maps = torch.export.load(paths[0]).module()(torch.zeros(1, 3, 96, 160, dtype=torch.uint8))
    assert {name: list(value.shape) for name, value in maps.items()} == {
        name: output["shape"] for name, output in facts["outputs"].items()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "PE-X"], "encoder PE-X is unknown: choose one of PE-Core-T16-384"),
        (["--encoder", "PE-Spatial-T16-512", "--random-weights", "--image-size", 500, 512], "try 496 x 512"),
        (["--encoder", "PE-Spatial-T16-512", "--random-weights", "--layers", 12], "the encoder has blocks 0..11"),
        (["--encoder", "PE-Spatial-T16-512", "--zoo", "x"], "give one of --encoder, --zoo"),
        (["--zoo", "x", "--random-weights"], "--random-weights is for --encoder and --config-file"),
        (["--checkpoint", "x", "--layers", 3], "--weights and --layers belong to --encoder"),
        (["--encoder", "PE-Spatial-T16-512", "a.b=3"], "leave --part and config values out"),
        (["--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_errors(
    arguments: list[object], message: str, tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool("export", *arguments, "--output", tmp_path / "x.pt2") == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
