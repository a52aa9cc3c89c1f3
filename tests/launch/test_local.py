"""Process groups on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from launch_targets import fail_in_one, write_rank

from pe_dense.engine.settings import pick_device
from pe_dense.launch import LaunchError, launch, user_message
from pe_dense.launch.local import _leave_note, _raise_first, free_port

TARGETS = Path(__file__).with_name("launch_targets.py")


def environment() -> dict[str, str]:
    """Of a program that finds the library and this folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TARGETS.parents[2]), str(TARGETS.parent)])}


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
        ("never ends", LaunchError, "ZeroDivisionError: a bug in rank 1"),
        ("terminated", LaunchError, "process 1 of 2 was ended by SIGTERM"),
        ("killed", LaunchError, "process 1 of 2 was ended by SIGKILL: the machine may have run out of memory"),
        ("aborted", LaunchError, "process 1 of 2 was ended by SIGABRT"),
    ],
)
def test_first_real_error_and_nobody_left(tmp_path: Path, kind: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        launch(fail_in_one, 2, (tmp_path, kind), "gloo")
    assert (user_message(raised.value) is not None) == (kind in ("terminated", "killed", "aborted"))
    started = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(started) == 2
    assert not any(is_running(pid) for pid in started)


def test_error_for_the_user_comes_before_what_others_noticed_of_it(tmp_path: Path) -> None:
    _leave_note(tmp_path, 0, RuntimeError("connection closed by peer"))
    with pytest.raises(LaunchError, match=r"process 0 of 2 failed:\nRuntimeError: connection closed by peer"):
        _raise_first(tmp_path, [1, 0])
    with pytest.raises(ValueError, match="is not a device") as raised:
        pick_device("gpu")
    _leave_note(tmp_path, 1, raised.value)
    with pytest.raises(ValueError, match='device "gpu" is not a device'):
        _raise_first(tmp_path, [1, 1])


@pytest.mark.parametrize(("codes", "code"), [([0, 0], None), ([-15, 3], 3), ([0, -6], 134)])
def test_exit_code_without_an_error(tmp_path: Path, codes: list[int], code: int | None) -> None:
    if code is None:
        _raise_first(tmp_path, codes)
        return
    with pytest.raises(SystemExit) as left:
        _raise_first(tmp_path, codes)
    assert left.value.code == code


@pytest.mark.slow
def test_nobody_left_when_the_launcher_is_killed(tmp_path: Path) -> None:
    launcher = start_waiting(tmp_path)
    launcher.kill()
    launcher.wait()
    started = [int(path.stem) for path in tmp_path.glob("*.pid")]
    wait_until(lambda: not any(is_running(pid) for pid in started))


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False])
def test_interrupted_before_training(tmp_path: Path, terminal: bool) -> None:
    """Ctrl-C, as a terminal sends it to all of them, or SIGINT to the launcher alone."""
    launcher = start_waiting(tmp_path)
    (os.killpg if terminal else os.kill)(launcher.pid, signal.SIGINT)
    output = launcher.communicate(timeout=120)[0]
    assert launcher.returncode == 130, output
    assert "Traceback" not in output
    assert not any(is_running(int(path.stem)) for path in tmp_path.glob("*.pid"))


@pytest.mark.slow
def test_interrupted_twice(tmp_path: Path) -> None:
    launcher = start_waiting(tmp_path, "fail_at_second_interrupt")
    os.killpg(launcher.pid, signal.SIGINT)
    wait_until(lambda: len(list(tmp_path.glob("*.passed_on"))) == 2)  # the first one was heard by all
    os.killpg(launcher.pid, signal.SIGINT)
    output = launcher.communicate(timeout=120)[0]
    assert launcher.returncode == 130, output
    assert "Traceback" not in output


def start_waiting(folder: Path, target: str = "wait_for_ever") -> subprocess.Popen[str]:
    """A launcher, in a process group of its own, whose two processes have begun and wait."""
    launcher = subprocess.Popen(
        [sys.executable, TARGETS, target, folder], env=environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_until(lambda: len(list(folder.glob("*.pid"))) == 2)
    return launcher


def is_running(pid: int) -> bool:
    """False for a process that has ended, even if nobody has asked for its exit code yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_not_enough_gpus() -> None:
    with pytest.raises(
        ValueError, match=f"99 processes need one GPU each but PyTorch finds {torch.cuda.device_count()}"
    ):
        launch(write_rank, 99, (), "nccl")


@pytest.mark.slow
def test_inside_the_group_of_torchrun(tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here)])}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    subprocess.run([*command, here / "launch_targets.py", "write_rank", tmp_path], env=environment, check=True)
    assert [(tmp_path / f"{r}.txt").read_text() for r in range(2)] == [f"[0, 1] local {r}" for r in range(2)]


def test_torchrun_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun started 2 processes, 4 were asked for"):
        launch(write_rank, 4)
