"""The tool that tracks a whole data set, from the command line to its scores."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.data import SET_KINDS, read_indexed_png, write_indexed_png

from .conftest import ROOT

CONFIG = ROOT / "configs" / "davis" / "propagation_pe_spatial_t16.py"
SMALL = [
    "model.backbone.backbone.weights=null", "model.backbone.backbone.depth=1", "model.propagation.short_side=64",
]  # fmt: skip


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    root = tmp_path / "DAVIS"
    for name in ("bike", "cat"):
        (root / "JPEGImages/480p" / name).mkdir(parents=True)
        for t in range(3):
            ids = np.zeros((64, 96), np.uint8)
            ids[16:48, 16 : 64 + 16 * t] = 1
            cv2.imwrite(str(root / "JPEGImages/480p" / name / f"{t:05d}.jpg"), ids * 200)
            write_indexed_png(root / "Annotations/480p" / name / f"{t:05d}.png", ids)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("bike\ncat\n")
    return root


def test_davis(davis: Path, tmp_path: Path, run_tool: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--root", davis, "--output", tmp_path / "out", "--config-file", CONFIG, "--device", "cpu", *SMALL]
    assert run_tool("track_dataset", *arguments, "--sequences", "cat") == 0
    assert [f.name for f in (tmp_path / "out/masks").iterdir()] == ["cat"]
    assert run_tool("track_dataset", *arguments) == 2
    assert "continue with --resume" in capsys.readouterr().err
    assert run_tool("track_dataset", *arguments, "--resume", "--per-object") == 0
    printed = capsys.readouterr().out
    assert "J&F" in printed
    assert "cat_1" in printed
    assert printed.splitlines()[-1] == str(tmp_path / "out/masks")
    assert (tmp_path / "out/scores/global_results.csv").is_file()
    assert read_indexed_png(tmp_path / "out/masks/bike/00002.png").any()
    assert run_tool("track_dataset", *arguments, "--resume", "--seed", "3") == 2
    assert "weights (digest)" in capsys.readouterr().err


def test_bad_input(
    davis: Path, tmp_path: Path, run_tool: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--output", tmp_path / "out", "--config-file", CONFIG, "--device", "cpu", *SMALL]
    for arguments, message in (
        (["--root", tmp_path / "nowhere"], "does not exist"),
        (["--root", davis, "--split", "test"], "the list of split 'test'"),
        (["--root", davis, "--images", davis], "leave them out"),
        (["--root", davis, "--sequences", "dog"], "no sequence dog"),
        (["--root", davis, "--checkpoint", tmp_path / "x"], "does not exist"),
    ):
        assert run_tool("track_dataset", *arguments, *common) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_formats_are_those_of_the_library() -> None:
    for tool in ("track_dataset", "evaluate_vos"):
        assert f"FORMATS = {SET_KINDS}".replace("'", '"') in (ROOT / "tools" / f"{tool}.py").read_text()
