"""Process groups on this machine."""

import os
from pathlib import Path

import pytest
import torch
from launch_targets import fail_in_one, write_rank

from pe_dense.launch import LaunchError, launch


def test_one_process_is_a_plain_call(tmp_path: Path) -> None:
    launch(write_rank, 1, (tmp_path,))
    assert (tmp_path / "0.txt").read_text() == "[0] local 0"


@pytest.mark.slow
def test_group_and_exit_code(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        launch(write_rank, 2, (tmp_path, 143), "gloo")
    assert caught.value.code == 143
    assert [(tmp_path / f"{r}.txt").read_text() for r in range(2)] == [f"[0, 1] local {r}" for r in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("bug", LaunchError, r"(?s)process 1 of 2 failed:.*launch_targets.*ZeroDivisionError: a bug in rank 1"),
        ("killed", LaunchError, "process 1 of 2 was ended by SIGKILL: the machine may have run out of memory"),
    ],
)
def test_first_real_error_and_nobody_left(tmp_path: Path, kind: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        launch(fail_in_one, 2, (tmp_path, kind), "gloo")
    started = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(started) == 2
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_not_enough_gpus() -> None:
    with pytest.raises(
        ValueError, match=f"99 processes need one GPU each but PyTorch finds {torch.cuda.device_count()}"
    ):
        launch(write_rank, 99, (), "nccl")


def test_torchrun_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun started 2 processes, 4 were asked for"):
        launch(write_rank, 4)
