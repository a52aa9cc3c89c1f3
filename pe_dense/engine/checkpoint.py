"""Weights with what is needed to use them: from a file of a finished model, or from a run's checkpoint folder."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pe_dense.engine.sharded import (
    RUN,
    CheckpointError,
    check_intact,
    list_checkpoints,
    read_facts,
    read_tensors,
    reason,
    tensor_shapes,
    write_error,
)
from pe_dense.structures import Categories

logger = logging.getLogger(__name__)

FORMAT = "pe_dense/2"
BEST = "best.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A model to predict with or to start from.

    Attributes:
        path: where it was read.
        weights: the moving average where the run kept one, by the model's own names, on the CPU.
        step: optimiser steps it was trained.
        config: YAML text of the run's config.
        categories: of the training data, as :meth:`Categories.to_json` gives them; None without classes.
        metrics: results of its evaluation, empty if unknown.
        pixel_classes: names of the training data's classes of pixels; None without any, or of a run older than them.
    """

    path: Path
    weights: Mapping[str, Tensor]
    step: int
    config: str
    categories: list[dict[str, Any]] | None
    metrics: Mapping[str, float]
    pixel_classes: list[str] | None = None


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The newest step checkpoint that is complete; damaged ones are skipped with a warning.

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


def best_checkpoint(folder: str | Path) -> Path | None:
    """``best.safetensors`` of a folder of checkpoints, else the newest step, else None.

    Raises:
        CheckpointError: if there are only damaged ones.
    """
    best = Path(folder) / BEST
    return best if best.is_file() else latest_checkpoint(folder)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that a user means: itself, or of a run's folder ``best.safetensors``, else the newest.

    Args:
        path: a checkpoint (file or ``step_*`` folder), the output folder of a run, or its ``checkpoints`` folder.

    Raises:
        FileNotFoundError: if a folder holds no checkpoint.
        CheckpointError: if all checkpoints of a folder are damaged.
    """
    path = Path(path)
    if not path.is_dir() or (path / RUN).exists():
        return path
    for folder in (path / "checkpoints", path):
        found = best_checkpoint(folder)
        if found is not None:
            return found
    raise FileNotFoundError(f"folder {path} holds no checkpoint; give a checkpoint or the output folder of a run")


def save_checkpoint(checkpoint: Checkpoint) -> None:
    """Write one safetensors file at ``checkpoint.path``: under a temporary name first, then renamed.

    The file's metadata holds step, config, categories and metrics, so that it needs no other file.

    Raises:
        CheckpointWriteError: if it cannot be written; a file that was at ``path`` before is still there.
    """
    path = checkpoint.path
    metadata = {
        "format": FORMAT,
        "step": str(checkpoint.step),
        "config": checkpoint.config,
        "categories": json.dumps(checkpoint.categories),
        "metrics": json.dumps(dict(checkpoint.metrics)),
        "pixel_classes": json.dumps(checkpoint.pixel_classes),
    }
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in checkpoint.weights.items()}, temporary, metadata)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # the library makes files that nobody else can read
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise write_error(path, reason(error)) from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read ``best.safetensors``, a file made by ``tools/convert_checkpoint.py``, a ``step_*`` folder, or what
    :func:`find_checkpoint` finds in a run's folder.

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        CheckpointError: if it is damaged or not a checkpoint of this project.
    """
    found = find_checkpoint(path)
    if not found.exists():
        raise FileNotFoundError(f"checkpoint {found} does not exist")
    if not found.is_dir():
        return _from_file(found)
    if found == Path(path):  # otherwise it was found for being intact
        check_intact(found)
    return _from_folder(found)


def _from_folder(path: Path) -> Checkpoint:
    facts = read_facts(path)
    prefix = "ema." if any(name.startswith("ema.") for name in tensor_shapes(path)) else "model."
    tensors, classes = read_tensors(path, prefix), facts.get("pixel_classes")
    return Checkpoint(path, tensors, facts["step"], facts["config"], facts["categories"], {}, classes)


def _from_file(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
            if found.get("format") == FORMAT:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: it is damaged or not a safetensors file ({error})"
        ) from error
    if found.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this project (its format is {found.get('format')!r}, expected {FORMAT!r}); "
            f"weights of an encoder are given to the weights argument of the backbone in the config"
        )
    facts = {key: json.loads(found[key]) for key in ("step", "categories", "metrics")}
    classes = json.loads(found.get("pixel_classes", "null"))
    return Checkpoint(path, weights, facts["step"], found["config"], facts["categories"], facts["metrics"], classes)


def convert_checkpoint(source: str | Path, target: str | Path) -> Checkpoint:
    """Write the weights of a checkpoint folder to one file that :func:`load_checkpoint` reads.

    Args:
        source: a ``step_*`` folder, or a run directory, of which the newest step is taken.
        target: ends in ``.safetensors``.

    Raises:
        FileNotFoundError: if there is no checkpoint at ``source``.
        CheckpointError: if it is damaged, or ``target`` has another ending.
        CheckpointWriteError: if ``target`` cannot be written.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target} must end in .safetensors, the format that is written")
    checkpoint = replace(newest_checkpoint(source), path=target)
    save_checkpoint(checkpoint)
    return checkpoint


def newest_checkpoint(source: str | Path) -> Checkpoint:
    """A checkpoint, or of a run directory the one of its newest step, best or not.

    Raises:
        FileNotFoundError: if there is no checkpoint at ``source``.
        CheckpointError: if it is damaged.
    """
    folder = Path(source) / "checkpoints"
    if not folder.is_dir():
        return load_checkpoint(source)
    newest = latest_checkpoint(folder)
    if newest is None:
        raise FileNotFoundError(f"{folder} holds no step checkpoint")
    return _from_folder(newest)


def check_fits(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], source: str | Path
) -> None:
    """Compare names and shapes.

    Raises:
        CheckpointError: listing missing, unexpected and differently shaped names.
    """
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "not in the model": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{n} ({tuple(found[n])} in the file, {tuple(expected[n])} in the model)"
            for n in sorted(expected.keys() & found.keys())
            if tuple(found[n]) != tuple(expected[n])
        ],
    }
    if any(problems.values()):
        text = "; ".join(
            f"{len(names)} {kind}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
            for kind, names in problems.items()
            if names
        )
        raise CheckpointError(f"the weights in {source} do not fit the model of this config: {text}")


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Strict loading with one short message.

    Raises:
        CheckpointError: listing missing, unexpected and differently shaped names.
    """
    shapes = [{name: tuple(t.shape) for name, t in state.items()} for state in (model.state_dict(), checkpoint.weights)]
    try:
        check_fits(shapes[0], shapes[1], checkpoint.path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; build the model with the settings that it was trained with") from error
    model.load_state_dict(dict(checkpoint.weights))


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


def check_pixel_classes(saved: list[str] | None, classes: Sequence[str] | None, source: str, data: str) -> None:
    """As :func:`check_categories`, for the classes of semantic segmentation.

    Raises:
        CheckpointError: naming the first class that differs.
    """
    if saved is None or classes is None or list(classes) == saved:
        return
    first = next(
        (f": class {i} is {a} there and {b} here" for i, (a, b) in enumerate(zip(saved, classes)) if a != b), ""
    )
    raise CheckpointError(
        f"the pixel classes of {source} ({len(saved)}) and of {data} ({len(classes)}) differ{first}; use data with the "
        f"same classes, or train on this data"
    )
