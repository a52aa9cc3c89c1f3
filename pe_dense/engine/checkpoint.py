"""Checkpoint files: written whole or not at all, read without running code."""

from __future__ import annotations

import logging
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pe_dense.structures import Categories

logger = logging.getLogger(__name__)

FORMAT = "pe_dense/1"
BEST = "best.pt"
_STEP_FILE = re.compile(r"step_(\d+)\.pt")


class CheckpointError(ValueError):
    """A file that is not a usable checkpoint, or a checkpoint that does not fit."""


class CheckpointWriteError(OSError):
    """A checkpoint that could not be written; earlier ones are untouched."""


def step_path(folder: str | Path, step: int) -> Path:
    """``folder/step_00001234.pt``."""
    return Path(folder) / f"step_{step:08d}.pt"


def list_checkpoints(folder: str | Path) -> list[Path]:
    """The step checkpoints of a folder, oldest first."""
    matches = [(_STEP_FILE.fullmatch(path.name), path) for path in Path(folder).glob("step_*.pt")]
    return [path for _, path in sorted((int(match.group(1)), path) for match, path in matches if match)]


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The newest step checkpoint that can be read; damaged ones are skipped with a warning.

    Returns:
        None if the folder holds no step checkpoint at all.

    Raises:
        CheckpointError: if there are some but all are damaged.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            check_intact(path)
            return path
        except CheckpointError as error:
            logger.warning("%s; falling back to the checkpoint before", error)
    if paths:
        raise CheckpointError(
            f"all {len(paths)} checkpoints in {folder} are damaged: remove them and start anew, "
            f"or start from other weights with train.init_from=<checkpoint>"
        )
    return None


def check_intact(path: str | Path) -> None:
    """Compare every byte with the file's checksums (``torch.load`` does not).

    Raises:
        CheckpointError: if the file is truncated or a byte is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error})") from error
    if damaged is not None:
        raise CheckpointError(f"checkpoint {path} is damaged (bad checksum of {damaged})")


def write_torch(payload: Mapping[str, Any], path: str | Path) -> None:
    """``torch.save`` under a temporary name in the same folder, flushed to the disk, then renamed.

    Raises:
        CheckpointWriteError: if it cannot be written; a file that was at ``path`` before is still there.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save(dict(payload), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save turns a failed write into a RuntimeError
        temporary.unlink(missing_ok=True)
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        raise CheckpointWriteError(
            f"could not write {path} ({cause}; {_free_megabytes(path.parent)} MB free): free some space or set "
            f"train.output_dir to another disk; earlier checkpoints are intact, continue from them with --resume"
        ) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # makes the rename itself survive a power cut
    finally:
        os.close(folder)


def _free_megabytes(folder: Path) -> str:
    try:
        return str(shutil.disk_usage(folder).free // 2**20)
    except OSError:
        return "unknown"


def prune(folder: str | Path, keep_last: int) -> None:
    """Remove all but the newest ``keep_last`` step checkpoints, and temporary files a killed process left."""
    for path in list_checkpoints(folder)[:-keep_last]:
        path.unlink(missing_ok=True)
    for path in Path(folder).glob("*.pt.tmp"):
        path.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours onto the CPU; nothing in the file is executed.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, holds anything but plain data, or is not a checkpoint of this project.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling damaged data raises nearly anything
        raise CheckpointError(
            f"checkpoint {path} cannot be read: it is damaged, or it holds Python objects, which are never loaded "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        ) from error
    found = payload.get("format") if isinstance(payload, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this project (its format is {found!r}, expected {FORMAT!r}); "
            f"weights of an encoder are given to the weights argument of the backbone in the config"
        )
    assert isinstance(payload, dict)
    return payload


def inference_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights to predict with: the moving average when the run kept one."""
    return checkpoint["ema"] if checkpoint.get("ema") is not None else checkpoint["model"]


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Strict loading with one short message.

    Raises:
        CheckpointError: listing missing, unexpected and differently shaped names.
    """
    expected = model.state_dict()
    problems = {
        "missing": sorted(expected.keys() - weights.keys()),
        "not in the model": sorted(weights.keys() - expected.keys()),
        "of another shape": [
            f"{n} ({tuple(weights[n].shape)} in the file, {tuple(expected[n].shape)} in the model)"
            for n in sorted(expected.keys() & weights.keys())
            if weights[n].shape != expected[n].shape
        ],
    }
    if any(problems.values()):
        text = "; ".join(f"{len(names)} {kind}: {', '.join(names[:4])}" for kind, names in problems.items() if names)
        raise CheckpointError(f"the weights in {source} do not fit the model of this config: {text}")
    model.load_state_dict(dict(weights))


def check_categories(saved: list[dict[str, Any]] | None, categories: Categories | None, source: str, data: str) -> None:
    """A model's class indices mean what its training data said; other data must say the same.

    Raises:
        CheckpointError: naming the first class that differs.
    """
    if saved is None or categories is None:
        return
    ours, theirs = Categories.from_json(saved), categories
    if ours == theirs:
        return
    pairs = enumerate(zip(zip(ours.ids, ours.names), zip(theirs.ids, theirs.names)))
    first = next((f": class {i} is {a} there and {b} here" for i, (a, b) in pairs if a != b), "")
    raise CheckpointError(
        f"the categories of {source} ({len(ours)}) and of {data} ({len(theirs)}) differ{first}; "
        f"use data with the same categories, or train on this data"
    )
