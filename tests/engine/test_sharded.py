"""Checkpoint folders: complete or not there, the same tensors back, in one process."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pe_dense.engine import sharded

TENSORS = {"model.weight": torch.randn(5, 3), "optimizer.weight.step": torch.tensor(7.0)}
OWN = {"rng": torch.arange(4)}
FACTS = {"step": 3, "config": "a: 1\n"}


def write(folder: Path, step: int = 3, background: bool = False, keep_last: int = 2) -> Path:
    writer = sharded.CheckpointWriter(folder, keep_last, background)
    assert writer.save(step, TENSORS, OWN, FACTS)
    writer.wait()
    return sharded.step_path(folder, step)


@pytest.mark.parametrize("background", [False, True])
def test_round_trip(tmp_path: Path, background: bool) -> None:
    path = write(tmp_path, background=background)
    sharded.check_intact(path)
    assert sharded.read_facts(path) == FACTS
    assert torch.equal(sharded.read_own(path, 0)["rng"], OWN["rng"])
    assert sharded.tensor_shapes(path) == {
        "model.weight": ((5, 3), torch.float32),
        "optimizer.weight.step": ((), torch.float32),
    }
    assert torch.equal(sharded.read_tensors(path, "model.")["weight"], TENSORS["model.weight"])
    target = {name: torch.zeros_like(value) for name, value in TENSORS.items()}
    sharded.load_tensors(path, target)
    assert all(torch.equal(target[name], value) for name, value in TENSORS.items())


def test_background_keeps_the_moment(tmp_path: Path) -> None:
    weight = torch.zeros(1000, 1000)
    writer = sharded.CheckpointWriter(tmp_path, 2, background=True)
    for step in (1, 2):
        writer.save(step, {"model.weight": weight}, OWN, FACTS)
        weight += 1  # the training goes on at once
    writer.wait()
    for step in (1, 2):
        saved = sharded.read_tensors(sharded.step_path(tmp_path, step), "model.")["weight"]
        assert torch.equal(saved, torch.full_like(saved, step - 1))


def test_order_pruning_and_leftovers(tmp_path: Path) -> None:
    (tmp_path / "step_00000011.tmp").mkdir(parents=True)
    for step in (9, 10, 100_000_000):
        write(tmp_path, step)
    assert [p.name for p in sharded.list_checkpoints(tmp_path)] == ["step_00000010", "step_100000000"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000010", "step_100000000"]
    writer = sharded.CheckpointWriter(tmp_path, 2)
    assert not writer.save(10, TENSORS, OWN, FACTS)


@pytest.mark.parametrize("damage", ["no marker", "half a marker", "flipped bit", "truncated", "missing file"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path)
    [data] = path.glob("*.distcp")
    content = bytearray(data.read_bytes())
    if damage == "no marker":
        (path / sharded.MARKER).unlink()
    elif damage == "half a marker":
        (path / sharded.MARKER).write_text((path / sharded.MARKER).read_text()[:20])
    elif damage == "flipped bit":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "truncated":
        data.write_bytes(content[: len(content) // 2])
    else:
        (path / "rank_00000.pt").unlink()
    with pytest.raises(sharded.CheckpointError, match=f"checkpoint {path} (is damaged|has no COMPLETE marker)"):
        sharded.check_intact(path)


@pytest.mark.parametrize("background", [False, True])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool) -> None:
    """An error that names the remedy, in the background at the next call; the checkpoint before is whole."""
    old = write(tmp_path, 3)
    writer = sharded.CheckpointWriter(tmp_path, 2, background)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sharded.dcp, "save", full)
    act = lambda: (writer.save(4, TENSORS, OWN, FACTS), writer.wait())
    with pytest.raises(sharded.CheckpointWriteError, match=r"step_00000004.*No space left.*train\.output_dir"):
        act()
    assert [p.name for p in tmp_path.iterdir()] == [old.name]
    sharded.check_intact(old)
    monkeypatch.undo()
    assert writer.save(4, TENSORS, OWN, FACTS)
    writer.wait()
    sharded.check_intact(sharded.step_path(tmp_path, 4))


def test_killed_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sharded.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    monkeypatch.undo()
    assert sharded.list_checkpoints(tmp_path) == []
    path = write(tmp_path)
    assert json.loads((path / sharded.MARKER).read_text())["world_size"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_damaged_ones_make_room(tmp_path: Path) -> None:
    """A resumed run starts before them: they are replaced, and do not push out what it writes."""
    for step in (2, 4, 6):
        write(tmp_path, step, keep_last=3)
    for step in (4, 6):
        (sharded.step_path(tmp_path, step) / sharded.MARKER).unlink()
    writer = sharded.CheckpointWriter(tmp_path, 1)
    assert not writer.save(2, TENSORS, OWN, FACTS)
    assert writer.save(4, TENSORS, OWN, FACTS)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000004"]
    sharded.check_intact(sharded.step_path(tmp_path, 4))
    assert not writer.save(4, TENSORS, OWN, FACTS)


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(sharded.CheckpointError, match=r"is not a checkpoint of this project: it has no run\.pt"):
        sharded.read_facts(tmp_path)
