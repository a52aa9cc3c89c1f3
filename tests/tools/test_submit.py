"""``tools/submit.py`` and ``tools/jobs.py`` without a cluster."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ROOT

RunTool = Callable[..., int]
DEMO = ROOT / "configs" / "demo" / "mask_rcnn_scenes.py"


@pytest.fixture
def cluster_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    path = tmp_path / "home" / "pe_dense" / "cluster.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("clusters: {alpha: {partition: gpu, account: vision, gpus_per_node: 8}}")
    return path


@pytest.mark.usefixtures("cluster_file")
def test_dry_run(run_tool: RunTool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cluster", "alpha", "--nodes", "8", "--account", "other", "--dry-run", "train.seed=7"]
    assert run_tool("submit", "--config-file", DEMO, *arguments, f"train.output_dir={tmp_path / 'run'}") == 0
    text = capsys.readouterr().out
    for line in (
        "#SBATCH --partition=gpu",
        "#SBATCH --account=other",
        "#SBATCH --nodes=8",
        "  seed: 7",
        "  device: cuda",
    ):
        assert line in text.splitlines()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster", "alhpa"], r"has no cluster 'alhpa'; did you mean 'alpha'\?"),
        (["--nodes", "0"], "nodes must be at least 1, it is 0"),
        (["trian.seed=1"], r"trian.*did you mean"),
        ([], "sbatch is not on PATH"),
    ],
)
@pytest.mark.usefixtures("cluster_file")
def test_mistakes(
    run_tool: RunTool, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", "/nowhere")
    assert run_tool("submit", "--config-file", DEMO, *arguments, f"train.output_dir={tmp_path / 'run'}") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert re.search(message, told)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("cluster_file")
def test_a_refusal_of_sbatch_is_said_once(
    run_tool: RunTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, body in (("sbatch", "echo 'sbatch: error: invalid partition: x' >&2; exit 1"), ("srun", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert run_tool("submit", "--config-file", DEMO, f"train.output_dir={tmp_path / 'run'}") == 2
    assert capsys.readouterr().err == "error: sbatch refused the job: invalid partition: x\n"
    assert not (tmp_path / "run" / "slurm").exists()


def test_jobs(run_tool: RunTool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool("jobs", "list", tmp_path) == 0
    assert capsys.readouterr().out.startswith("JOB  STATE")
    assert run_tool("jobs", "list", tmp_path / "none") == 2
    assert capsys.readouterr().err.startswith(f"error: folder {tmp_path / 'none'} does not exist; give the folder")
    for command in ("status", "logs", "cancel"):
        assert run_tool("jobs", command, tmp_path) == 2
        assert capsys.readouterr().err.startswith(f"error: no job was submitted with {tmp_path} as its run directory")
