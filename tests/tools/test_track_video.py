"""The tool that follows objects through a video."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.data import read_object_ids

from .conftest import ROOT

CONFIG = ROOT / "configs" / "davis" / "propagation_pe_spatial_t16.py"
SMALL = [
    "model.backbone.backbone.weights=null", "model.backbone.backbone.depth=1", "model.propagation.short_side=64",
]  # fmt: skip


def test_folder(tmp_path: Path, run_tool: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    frames, mask = tmp_path / "clip", tmp_path / "mask.png"
    frames.mkdir()
    for index in range(2):
        cv2.imwrite(str(frames / f"{index:05d}.jpg"), np.full((48, 64, 3), 60 * index, np.uint8))
    cv2.imwrite(str(mask), np.full((48, 64), 3, np.uint8))
    arguments = [frames, mask, *SMALL, "--config-file", CONFIG, "--device", "cpu"]
    assert run_tool("track_video", *arguments, "--output", tmp_path / "out") == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / n) for n in ("clip", "clip.mp4")]
    assert (read_object_ids(tmp_path / "out/clip/00001.png") == 3).all()
    assert run_tool("track_video", frames, tmp_path / "no.png", *arguments[2:], "--output", tmp_path / "out") == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: mask {tmp_path}/no.png does not exist; check the path"
