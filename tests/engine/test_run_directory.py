"""What may happen to the folder of a run, and what must not."""

import json
import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from toy_run import make_config

from pe_dense.config import ConfigError
from pe_dense.engine import Hook, NonFiniteLossError, evaluate, train
from pe_dense.engine.run_directory import REPLACED, RunDirectoryError, check_writable
from pe_dense.engine.run_log import RunWriter
from pe_dense.engine.sharded import list_checkpoints
from pe_dense.launch import user_message

WRONG = {
    "model.weights": ("nowhere.pt", FileNotFoundError),
    "model.num_classes": (80, ValueError),
    "train.init_from": ("nowhere.pt", FileNotFoundError),
    "dataloader.train.dataset.names": (["red"], ValueError),
    "optimizer.layer_decay": (0.9, ValueError),
    "evaluator.no_such_argument": (1, ConfigError),
}


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("key", WRONG)
def test_failed_start_leaves_nothing(tmp_path: Path, key: str) -> None:
    cfg = make_config(tmp_path / "runs" / "first")
    value, error = WRONG[key]
    OmegaConf.update(cfg, key, value)
    with pytest.raises(error):
        train(cfg)
    assert list(tmp_path.iterdir()) == []
    if key in ("model.num_classes", "model.weights", "evaluator.no_such_argument"):
        with pytest.raises(error):
            evaluate(cfg)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads which processes run from Linux's /proc")
@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_is_going_on_is_left_alone(tmp_path: Path, resume: bool) -> None:
    """As its heartbeats tell: this process's parent stands for the other run."""
    beat = {"rank": 0, "world_size": 1, "host": socket.gethostname(), "pid": os.getppid(), "state": "training"}
    beat |= {"step": 7, "total_steps": 20, "time": time.time()}
    path = tmp_path / "heartbeats" / "rank_00000.json"
    path.parent.mkdir()
    path.write_text(json.dumps(beat))
    cfg = make_config(tmp_path, steps=1, overwrite=True)
    with pytest.raises(RunDirectoryError, match=rf"run that is going on \(.*step 7.*; process {os.getppid()}\): wait"):
        train(cfg, resume=resume)
    assert list(contents(tmp_path)) == ["heartbeats/rank_00000.json"]
    # over, another machine's, and of a process that had the number before
    for change in ({"state": "failed"}, {"host": "elsewhere"}, {"time": 1e9}):
        path.write_text(json.dumps(beat | change))
        train(cfg, resume=resume)


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    files = {"notes.txt": "mine", "checkpoints/other.pt": "mine", "vis/picture.png": "mine", "log.txt": "line\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    cfg = make_config(tmp_path, steps=1)
    cfg.model.num_classes = 80
    with pytest.raises(ValueError, match="80 classes"):
        train(cfg)
    assert contents(tmp_path) == files
    train(make_config(tmp_path, steps=1))
    assert (tmp_path / "log.txt").read_text().startswith("line\n")
    train(make_config(tmp_path, steps=2, overwrite=True))
    kept = contents(tmp_path)
    assert {name: kept[name] for name in files if name != "log.txt"} == {n: "mine" for n in files if n != "log.txt"}
    assert "training 1 step " not in kept["log.txt"]
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000002"]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A finished run of two steps in a folder of its own."""
    train(make_config(tmp_path / "run", steps=2))
    return tmp_path / "run"


@pytest.mark.parametrize("key", WRONG)
def test_run_survives_a_wrong_config_that_would_overwrite_it(finished: Path, key: str) -> None:
    before = contents(finished)
    cfg = make_config(finished, steps=3, overwrite=True)
    OmegaConf.update(cfg, key, WRONG[key][0])
    with pytest.raises(WRONG[key][1]):
        train(cfg)
    assert contents(finished) == before


@pytest.mark.parametrize("what", ["loss", "hook", "writer"])
def test_run_survives_when_the_one_that_would_overwrite_it_takes_no_step(
    finished: Path, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        assert (finished / REPLACED / "checkpoints" / "step_00000002").is_dir()
        raise RuntimeError("out of memory")

    before = contents(finished)
    cfg = make_config(finished, steps=3, overwrite=True)
    cfg.dataloader.train.poison = 0 if what == "loss" else None
    if what != "loss":
        monkeypatch.setattr(
            {"hook": Hook, "writer": RunWriter}[what], {"hook": "before_train", "writer": "__init__"}[what], broken
        )
    with pytest.raises((NonFiniteLossError, RuntimeError)):
        train(cfg)
    after = contents(finished)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith(("nonfinite_step_00000001", "tensorboard/")) for name in after.keys() - before.keys())
    assert not (finished / REPLACED).exists()
    assert "took no step: the earlier one is back" in caplog.text
    monkeypatch.undo()
    assert train(make_config(finished, steps=2), resume=True)["bbox/AP"] >= 0


def test_run_survives_when_the_one_that_would_overwrite_it_is_killed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished)
    monkeypatch.setattr("pe_dense.engine.run.bring_back_replaced", lambda folder: None)
    monkeypatch.setattr("toy_run.ToyModel.forward", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(make_config(finished, steps=3, overwrite=True))
    monkeypatch.undo()
    assert not list_checkpoints(finished / "checkpoints")
    with pytest.raises(RunDirectoryError, match="already holds a run"):
        train(make_config(finished, steps=3))
    after = contents(finished)
    assert {name: after[name] for name in before} == before


def test_nothing_comes_back_once_the_new_run_has_taken_a_step(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the deletion of the earlier run is cut off in the middle."""

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pe_dense.engine.run_directory.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(finished, steps=3, overwrite=True))
    monkeypatch.undo()
    assert not list_checkpoints(finished / "checkpoints")
    train(make_config(finished, steps=3, overwrite=True))
    assert [p.name for p in list_checkpoints(finished / "checkpoints")] == ["step_00000003"]
    assert not list(finished.glob("replaced_run*"))


def test_best_weights_of_an_earlier_run_are_not_deleted(tmp_path: Path) -> None:
    train(make_config(tmp_path, steps=1))
    shutil.rmtree(list_checkpoints(tmp_path / "checkpoints")[0])
    for resume in (False, True):
        with pytest.raises(
            RunDirectoryError, match=r"only best\.safetensors of it is left.*train\.init_from=.*best\.safetensors"
        ):
            train(make_config(tmp_path, steps=1), resume=resume)
    assert (tmp_path / "checkpoints" / "best.safetensors").exists()


def test_config_of_another_program_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("MODEL:\n  META_ARCHITECTURE: GeneralizedRCNN\n")
    with pytest.raises(RunDirectoryError, match=r"config\.yaml is not the config of a run of this project"):
        train(make_config(tmp_path, overwrite=True))
    assert list(contents(tmp_path)) == ["config.yaml"]


@pytest.mark.parametrize("below", [".", "run", "a/b"])
def test_file_in_the_way(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    cfg = make_config(tmp_path / "file" / below)
    for start in (train, evaluate):
        with pytest.raises(RunDirectoryError, match=r"train\.output_dir is .*, but .*file is a file") as caught:
            start(cfg)
        assert user_message(caught.value) is not None
    with pytest.raises(RunDirectoryError, match=r"^--output is .*file is a file: choose another --output"):
        evaluate(make_config(tmp_path), output=tmp_path / "file" / below)
    assert contents(tmp_path) == {"file": "mine"}


def test_folder_without_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everything is permitted to root, the system's answer is replaced."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(RunDirectoryError, match=r"train\.output_dir is .*, but nothing can be written to"):
        train(make_config(tmp_path / "new" / "run"))
    monkeypatch.undo()
    check_writable(tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write to")
def test_folder_that_turns_out_to_be_unwritable() -> None:
    for start in (train, evaluate):
        with pytest.raises(RunDirectoryError, match=r"cannot write to .*, which is train\.output_dir \(") as caught:
            start(make_config(Path("/proc/no_run"), steps=1))
        assert user_message(caught.value) is not None
