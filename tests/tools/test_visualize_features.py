"""The tool that draws features."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

RunTool = Callable[..., int]


def test_features_of_a_tower(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "photo.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    arguments = [image, "--output", tmp_path / "out", "--encoder", "PE-Spatial-T16-512", "--short-side", 48]
    options = ["--random-weights", "--device", "cpu", "--layers", 0, -1, "--show", "pca", "attention", "--page"]
    assert run_tool("visualize_features", *arguments, *options, "--class-token", "--head", 1) == 0
    found = capsys.readouterr()
    assert "weights of PE-Spatial-T16-512 are random" in found.err
    assert found.out.splitlines() == [str(tmp_path / "out" / n) for n in ("pca.png", "attention.png", "features.html")]
    assert run_tool("visualize_features", *arguments, *options, "--point", 60, 3) == 2
    assert "point 60, 3 lies outside the first image" in capsys.readouterr().err
    assert run_tool("visualize_features", *arguments[:-4], "--checkpoint", "x", "--weights", "y") == 2
    assert run_tool("visualize_features", *arguments[:-4], "--checkpoint", tmp_path / "x") == 2
