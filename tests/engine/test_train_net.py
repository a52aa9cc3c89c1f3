"""The command line: what it prints and its exit codes."""

import runpy
from pathlib import Path

import pytest
from toy_run import KillAt, make_config

from pe_dense.config import LazyCall as L
from pe_dense.config import save_config
from pe_dense.engine.sharded import step_path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "train_net.py"


def tool(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of ``train_net.py`` with these arguments."""
    monkeypatch.setattr("sys.argv", ["train_net.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(TOOL), run_name="__main__")
    return int(left.value.code or 0)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    save_config(make_config(tmp_path / "out", steps=2), tmp_path / "config.yaml")
    return tmp_path / "config.yaml"


def test_train_resume_evaluate(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(monkeypatch, "--config-file", config, "train.log_period=1") == 0
    checkpoint = step_path(tmp_path / "out" / "checkpoints", 2)
    assert checkpoint.exists()
    assert tool(monkeypatch, "--config-file", config) == 2  # a second run must say what it means
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "already holds a run" in error
    assert tool(monkeypatch, "--config-file", config, "--resume") == 0
    assert tool(monkeypatch, "--config-file", config, "--eval-only", "--checkpoint", checkpoint) == 0
    assert "bbox" in capsys.readouterr().err


def test_help_and_print_config(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool(monkeypatch, "--help") == 0
    help_text = capsys.readouterr().out
    assert "python tools/train_net.py --config-file" in help_text
    assert max(map(len, help_text.partition("examples:")[2].splitlines())) <= 100
    assert tool(monkeypatch, "--config-file", config, "--print-config", "model.num_classes=7") == 0
    assert "num_classes: 7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.epochz=3"], "did you mean"),
        (["train.steps=many"], "train.steps"),
        (["train.precision=fp8"], 'train.precision must be "fp32" or "bf16"'),
        (["train.init_from=x", "train.init_skip=head."], "train.init_skip"),
        (["model.num_classes=9"], "set model.num_classes to 3"),
        (["--eval-only", "--checkpoint", "missing.pt"], "checkpoint missing.pt does not exist"),
        (["train.output_dir=/dev/null/run"], "train.output_dir is /dev/null/run, but /dev/null is a file"),
        (["--eval-only", "--output", "/dev/null"], "--output is /dev/null, but /dev/null is a file"),
        (["--output", "x"], "--output goes with --eval-only"),
        (["--checkpoint", "x.pt"], "--checkpoint goes with --eval-only"),
        (["--num-procs", "0"], "0 is not at least 1"),
        (["--num-gpus", "99"], "99 processes need one GPU each"),
    ],
)
def test_user_errors_are_one_message(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert tool(monkeypatch, "--config-file", config, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_killed_process_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cfg = make_config(tmp_path / "out", steps=9)
    cfg.hooks = [L(KillAt)(step=4, rank=1, saved=3)]
    save_config(cfg, tmp_path / "config.yaml")
    assert tool(monkeypatch, "--config-file", tmp_path / "config.yaml", "--num-procs", 2) == 2
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith("error: process 1 of 2 was ended by SIGKILL: the machine may have run out")
    assert "Traceback" not in error


def test_missing_config_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool(monkeypatch, "--config-file", "nowhere.py") == 2
    assert "nowhere.py" in capsys.readouterr().err


def test_bugs_keep_their_traceback(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("toy_run.ToyModel.forward", broken)
    monkeypatch.setattr("sys.argv", ["train_net.py", "--config-file", str(config)])
    with pytest.raises(KeyError):
        runpy.run_path(str(TOOL), run_name="__main__")
