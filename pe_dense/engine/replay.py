"""What is kept of a step whose loss is not finite, so that it can be run again under a debugger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pe_dense.engine.rng import RngState
from pe_dense.engine.sharded import CheckpointError, reason, write_error, write_plain
from pe_dense.structures import Instances

FORMAT = "pe_dense-replay/1"
_TAG = "__instances__"


class NonFiniteLossError(ArithmeticError):
    """A loss term or the gradient norm became NaN or infinite; the weights were not updated with it."""


def save_replay(
    path: str | Path, step: int, batch: Sequence[Mapping[str, Any]], rng: RngState, weights: Mapping[str, Tensor]
) -> None:
    """Write the batch, the weights before the step and the generators' state before the step.

    Raises:
        CheckpointWriteError: if it cannot be written.
    """
    path = Path(path)
    plain = [{key: _to_plain(value) for key, value in sample.items()} for sample in batch]
    content = {"format": FORMAT, "step": step, "batch": plain, "rng": rng, "model": dict(weights)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_plain(content, path)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        path.unlink(missing_ok=True)
        raise write_error(path, reason(error)) from error


def load_replay(path: str | Path) -> dict[str, Any]:
    """Read a replay file: ``step``, ``batch`` (list of samples), ``rng`` (for ``set_rng_state``), ``model`` (weights).

    Raises:
        CheckpointError: if it is not a replay file.
    """
    payload = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a replay file of a non-finite loss")
    payload["batch"] = [{key: _from_plain(value) for key, value in sample.items()} for sample in payload["batch"]]
    return payload


def _to_plain(value: Any) -> Any:
    """Containers as dicts, so that ``torch.load(weights_only=True)`` reads them."""
    if isinstance(value, Instances):
        rows = {f.name: getattr(value, f.name) for f in fields(value)}
        return {_TAG: {name: row for name, row in rows.items() if row is not None}}
    if isinstance(value, Path):
        return str(value)
    return value


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict) and _TAG in value:
        return Instances(**value[_TAG])
    return value


def image_ids(batch: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What to call the images of a batch in a message."""
    return [sample.get("image_id", sample.get("file_name", "?")) for sample in batch]
