"""The tool that probes layers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pe_dense.data.scenes import write_scenes

from .conftest import ROOT

RunTool = Callable[..., int]
TINY = [
    "model.model.backbone.backbone.embed_dim=32",
    "model.model.backbone.backbone.num_heads=2",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "dataloader.train.batch_size=2",
    "train.epochs=null",
    "train.steps=1",
    "train.device=cpu",
]


def test_probe_on_scenes(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_scenes(tmp_path / "scenes", train=2, val=1, size=64, videos=0).root
    output = tmp_path / "probe"
    config = [
        "--config-file",
        ROOT / "configs/probe/scenes_depth.py",
        f"data.root={data}",
        f"train.output_dir={output}",
    ]
    options = ["--layers", 0, -1, "--cache-gb", 0.1, "--images", 1]
    assert run_tool("probe_layers", *config, *TINY, *options) == 0
    tables = capsys.readouterr().out.split("\n\n")
    assert [[line.split()[0] for line in table.splitlines()] for table in tables] == [["layer", "0", "3"]] * len(tables)
    assert "depth/rmse" in tables[0]
    assert "attention/distance_px" in "".join(tables[2:])
    assert json.loads((output / "scores.json").read_text())["best"]["depth/rmse"] in (0, 3)
    assert len(list((output / "features").glob("*/*.safetensors"))) == 2
    written = output / "config.yaml"
    assert run_tool("probe_layers", "--config-file", written, "--resume", "--only", "train") == 0
    assert capsys.readouterr().out.strip() == "\n\n".join(tables[:2]).strip()  # nine metrics, in two blocks
    assert run_tool("probe_layers", *config, *TINY, "--layers", 4, f"train.output_dir={tmp_path}/x") == 2
    assert "layers [4]: the encoder has blocks 0..3 (-1 is the last), 4 is none of them" in capsys.readouterr().err
    assert run_tool("probe_layers", *config, "--only", "knn") == 2
    assert "the config has no knn" in capsys.readouterr().err


def test_probe_of_tracking(tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_scenes(tmp_path / "scenes", train=0, val=0, size=64, videos=1).root
    output = tmp_path / "probe"
    config = ["--config-file", ROOT / "configs/probe/scenes_tracking.py", f"data.root={data}", "train.device=cpu"]
    small = [*TINY[:2], "model.model.propagation.short_side=64", f"train.output_dir={output}"]
    assert run_tool("probe_layers", *config, *small, "--layers", 0, -1, "--images", 2, "--metric", "vos/J") == 0
    tables = capsys.readouterr().out.split("\n\n")
    assert [[line.split()[0] for line in table.splitlines()] for table in tables] == [["layer", "0", "3"]] * len(tables)
    assert tables[0].split()[:4] == ["layer", "vos/J&F", "vos/J", "vos/J_recall"]
    assert "attention/distance_px" in "".join(tables[1:])
    assert json.loads((output / "scores.json").read_text())["best"]["vos/J&F"] in (0, 3)
    assert (output / "scores.png").is_file()
    again = ["--config-file", output / "config.yaml", "--only", "track"]
    assert run_tool("probe_layers", *again) == 2
    assert "already holds the scores of 1 sequence: continue with --resume" in capsys.readouterr().err
    assert run_tool("probe_layers", *again, "--resume") == 0
    assert capsys.readouterr().out.strip() == tables[0].strip()
    assert run_tool("probe_layers", *again, "--resume", "train.seed=1") == 2
    assert "holds the scores of another probe, which differs in 1 key (encoder" in capsys.readouterr().err
    assert run_tool("probe_layers", *config, *small, "--layers", 4) == 2
    assert "layers [4]: the encoder has blocks 0..3" in capsys.readouterr().err
