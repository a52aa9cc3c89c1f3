"""Weights with what is needed to use them: whole or not at all, never code."""

import errno
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from toy_run import make_config

from pe_dense.engine import (
    Checkpoint,
    CheckpointError,
    convert_checkpoint,
    load_checkpoint,
    save_checkpoint,
    sharded,
    train,
)
from pe_dense.engine import checkpoint as ckpt
from pe_dense.engine.sharded import CheckpointWriteError, CheckpointWriter, read_tensors, step_path
from pe_dense.launch import user_message
from pe_dense.structures import Categories

CLASSES = [{"id": 3, "name": "Tür"}, {"id": 7, "name": "dog"}]


def example(path: Path, step: int = 5) -> Checkpoint:
    return Checkpoint(path, {"weight": torch.full((4, 3), float(step))}, step, "a: 1\n", CLASSES, {"bbox/AP": 41.5})


def write_step(folder: Path, step: int, ema: bool = False) -> Path:
    tensors = {"model.weight": torch.full((4, 3), float(step)), "optimizer.weight.step": torch.tensor(1.0)}
    if ema:
        tensors["ema.weight"] = torch.full((4, 3), 0.5)
    facts = {"step": step, "config": "a: 1\n", "categories": CLASSES}
    CheckpointWriter(folder, 9).save(step, tensors, {}, facts)
    return step_path(folder, step)


def test_file_round_trip(tmp_path: Path) -> None:
    saved = example(tmp_path / "new" / "best.safetensors")
    save_checkpoint(saved)
    loaded = load_checkpoint(saved.path)
    assert torch.equal(loaded.weights["weight"], saved.weights["weight"])
    assert (loaded.step, loaded.config, loaded.categories, loaded.metrics) == (5, "a: 1\n", CLASSES, {"bbox/AP": 41.5})
    assert [p.name for p in saved.path.parent.iterdir()] == ["best.safetensors"]
    (tmp_path / "plain").touch()
    assert saved.path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("ema", [False, True])
def test_folder_of_a_run(tmp_path: Path, ema: bool) -> None:
    loaded = load_checkpoint(write_step(tmp_path, 7, ema))
    assert torch.equal(loaded.weights["weight"], torch.full((4, 3), 0.5 if ema else 7.0))
    assert (loaded.step, loaded.config, loaded.categories) == (7, "a: 1\n", CLASSES)


def test_one_file_of_a_folder(tmp_path: Path) -> None:
    write_step(tmp_path / "run" / "checkpoints", 6)
    write_step(tmp_path / "run" / "checkpoints", 7, ema=True)
    target = tmp_path / "model.safetensors"
    convert_checkpoint(tmp_path / "run", target)
    loaded = load_checkpoint(target)
    assert torch.equal(loaded.weights["weight"], torch.full((4, 3), 0.5))
    assert (loaded.step, loaded.config, loaded.categories) == (7, "a: 1\n", CLASSES)
    with pytest.raises(CheckpointError, match=r"model\.pt must end in \.safetensors"):
        convert_checkpoint(tmp_path / "run", tmp_path / "model.pt")
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no step checkpoint"):
        convert_checkpoint(tmp_path / "other", target)


def test_damaged_newest_falls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = (write_step(tmp_path, step) for step in (1, 2))
    assert ckpt.latest_checkpoint(tmp_path) == new
    (new / sharded.MARKER).unlink()
    assert ckpt.latest_checkpoint(tmp_path) == old
    assert f"checkpoint {new} has no COMPLETE marker" in caplog.text
    assert "falling back" in caplog.text
    (old / "run.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="all 2 checkpoints"):
        ckpt.latest_checkpoint(tmp_path)
    assert ckpt.latest_checkpoint(tmp_path / "nowhere") is None


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(example(path, 1))

    def full(weights: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ckpt, "save_file", full)
    with pytest.raises(CheckpointWriteError, match=r"best\.safetensors.*No space left.*free some space or set train\."):
        save_checkpoint(example(path, 2))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert load_checkpoint(path).step == 1


def test_full_disk_as_the_library_reports_it(tmp_path: Path) -> None:
    """With a real limit of the operating system."""
    saved = Checkpoint(tmp_path / "x.safetensors", {"weight": torch.zeros(1 << 18)}, 1, "", None, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(CheckpointWriteError, match=r"could not write .*x\.safetensors .*File too large"):
            save_checkpoint(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear error, the checkpoint before is whole, and the run goes on from it as if nothing had happened."""
    whole, full = make_config(tmp_path / "whole"), make_config(tmp_path / "full")
    train(whole)
    save, writes = sharded.dcp.save, []

    def limited(*args: Any, **kwargs: Any) -> Any:
        writes.append(kwargs["storage_writer"].checkpoint_id.name)
        if len(writes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sharded.dcp, "save", limited)
        with pytest.raises(CheckpointWriteError, match=r"step_00000006 .*No space left.*--resume") as caught:
            train(full)
    assert user_message(caught.value) is not None  # what the tool shows: no traceback
    assert writes == ["step_00000003.tmp", "step_00000006.tmp"]
    assert sorted(p.name for p in (tmp_path / "full" / "checkpoints").iterdir()) == ["step_00000003"]
    train(full, resume=True)
    ours, other = (read_tensors(step_path(tmp_path / n / "checkpoints", 12), "model.") for n in ("full", "whole"))
    assert all(torch.equal(value, ours[name]) for name, value in other.items())


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def test_what_is_not_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"checkpoint missing does not exist"):
        load_checkpoint("missing")
    torch.save({"x": Evil()}, "evil.pt")
    Path("evil.pkl").write_bytes(pickle.dumps(Evil()))
    Path("half.safetensors").write_bytes(save_example(tmp_path)[:-10])
    for name in ("evil.pt", "evil.pkl", "half.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{name} cannot be read: it is damaged or not a safetensors file"):
            load_checkpoint(name)
    save_file({"weight": torch.zeros(1)}, "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors is not a checkpoint of this project"):
        load_checkpoint("other.safetensors")
    Path("folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder holds no checkpoint; give a checkpoint or the output folder"):
        load_checkpoint("folder")
    path = write_step(tmp_path, 1)
    torch.save({"step": Evil()}, path / "run.pt")
    with pytest.raises(CheckpointError, match=r"run\.pt is not what was written"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"run\.pt cannot be read"):
        sharded.read_facts(path)
    assert not Path("executed").exists()


def save_example(folder: Path) -> bytes:
    save_checkpoint(example(folder / "example.safetensors"))
    return (folder / "example.safetensors").read_bytes()


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    weights = {"weight": torch.zeros(3, 5), "extra": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        ckpt.load_weights(nn.Linear(4, 3), Checkpoint(tmp_path / "w", weights, 0, "", None, {}))
    text = str(caught.value)
    assert "1 missing: bias" in text
    assert "1 not in the model: extra" in text
    assert "weight ((3, 5) in the file, (3, 4) in the model)" in text


def test_categories() -> None:
    cats = Categories((1, 3), ("cat", "dog"))
    ckpt.check_categories(cats.to_json(), cats, "a", "b")
    ckpt.check_categories(None, cats, "a", "b")
    with pytest.raises(ckpt.CheckpointError, match=r"class 1 is \(3, 'dog'\) there and \(3, 'cow'\) here"):
        ckpt.check_categories(cats.to_json(), Categories((1, 3), ("cat", "cow")), "a", "b")
    with pytest.raises(ckpt.CheckpointError, match=r"a \(2\) and of b \(1\) differ"):
        ckpt.check_categories(cats.to_json(), Categories((1,), ("cat",)), "a", "b")
