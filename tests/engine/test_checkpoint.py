"""Checkpoint files: whole or not at all, never code."""

import errno
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_run import make_config

from pe_dense.engine import checkpoint as ckpt
from pe_dense.engine import train
from pe_dense.launch import user_message
from pe_dense.structures import Categories


def payload(step: int = 1) -> dict[str, Any]:
    return {"format": ckpt.FORMAT, "model": {"weight": torch.full((64, 64), float(step))}, "ema": None, "step": step}


def test_round_trip_order_and_pruning(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        ckpt.write_torch(payload(step), ckpt.step_path(tmp_path, step))
    (tmp_path / "step_00000011.pt.tmp").write_bytes(b"of a killed process")
    ckpt.write_torch(payload(), tmp_path / ckpt.BEST)
    assert ckpt.latest_checkpoint(tmp_path) == tmp_path / "step_00000010.pt"
    ckpt.prune(tmp_path, keep_last=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "step_00000009.pt", "step_00000010.pt"]
    assert ckpt.load_checkpoint(tmp_path / "step_00000010.pt")["step"] == 10
    assert ckpt.latest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("damage", ["truncated", "flipped bit", "empty"])
def test_damaged_newest_falls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    for step in (1, 2):
        ckpt.write_torch(payload(step), ckpt.step_path(tmp_path, step))
    newest = ckpt.step_path(tmp_path, 2)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"truncated": content[: len(content) // 2], "flipped bit": content, "empty": b""}[damage])
    assert ckpt.latest_checkpoint(tmp_path) == ckpt.step_path(tmp_path, 1)
    assert f"checkpoint {newest} is damaged" in caplog.text
    assert "falling back" in caplog.text
    ckpt.step_path(tmp_path, 1).write_bytes(b"")
    with pytest.raises(ckpt.CheckpointError, match="all 2 checkpoints"):
        ckpt.latest_checkpoint(tmp_path)


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ckpt.step_path(tmp_path, 1)
    ckpt.write_torch(payload(1), path)

    def full(value: Mapping[str, Any], file: Any) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        ckpt.CheckpointWriteError, match=r"step_00000001.*No space left.*free some space or set train\."
    ):
        ckpt.write_torch(payload(2), path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert ckpt.load_checkpoint(path)["step"] == 1


def test_disk_that_fills_up_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear error, the checkpoint before is whole, and the run goes on from it as if nothing had happened."""
    whole, full = make_config(tmp_path / "whole"), make_config(tmp_path / "full")
    train(whole)
    save, writes = torch.save, []

    def limited(value: Mapping[str, Any], file: Any) -> None:
        if "optimizer" in value and value["optimizer"] is not None and not isinstance(file, io.BytesIO):
            writes.append(value["step"])
            if value["step"] == 6:
                file.write(b"half of it")
                raise OSError(errno.ENOSPC, "No space left on device")
        save(value, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", limited)
        with pytest.raises(ckpt.CheckpointWriteError, match=r"step_00000006\.pt .*No space left.*--resume") as caught:
            train(full)
    assert user_message(caught.value) is not None  # what the tool shows: no traceback
    assert writes == [3, 6]
    folder = tmp_path / "full" / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["step_00000003.pt"]
    train(full, resume=True)
    ours, other = (ckpt.load_checkpoint(ckpt.step_path(tmp_path / n / "checkpoints", 12)) for n in ("full", "whole"))
    assert all(torch.equal(value, ours["model"][name]) for name, value in other["model"].items())


def test_full_disk_reported_by_torch(tmp_path: Path) -> None:
    """torch.save's own way of failing, at a device that is always full."""
    (tmp_path / "x.pt.tmp").symlink_to("/dev/full")
    with pytest.raises(ckpt.CheckpointWriteError, match="No space left on device"):
        ckpt.write_torch(payload(), tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def test_files_that_are_not_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"checkpoint missing\.pt does not exist"):
        ckpt.load_checkpoint("missing.pt")
    torch.save({"format": ckpt.FORMAT, "x": Evil()}, "evil.pt")
    Path("evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(ckpt.CheckpointError, match=rf"{name} cannot be read.*never loaded"):
            ckpt.load_checkpoint(name)
    assert not Path("executed").exists()
    torch.save({"model": {}}, "other.pt")
    with pytest.raises(ckpt.CheckpointError, match=r"other.pt is not a checkpoint of this project"):
        ckpt.load_checkpoint("other.pt")


def test_weights_that_do_not_fit() -> None:
    weights = {"weight": torch.zeros(3, 5), "extra": torch.zeros(1)}
    with pytest.raises(ckpt.CheckpointError) as caught:
        ckpt.load_weights(nn.Linear(4, 3), weights, "w.pt")
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
