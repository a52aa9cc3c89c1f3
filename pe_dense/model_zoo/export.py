"""Our checkpoints in detectron2's layout."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from pe_dense.engine import CheckpointError, newest_checkpoint
from pe_dense.modeling.detection.released import to_detectron2


def export_detectron2(source: str | Path, target: str | Path) -> int:
    """Write the weights of a Mask R-CNN, cascaded or not, as detectron2 and the released files name them.

    The file is read again, bit for bit, by ``model.weights=FILE``.

    Args:
        source: a checkpoint, or a run directory, of which the newest step is taken.
        target: ends in ``.pth``.

    Returns:
        How many numbers it holds.

    Raises:
        FileNotFoundError: if there is no checkpoint at ``source``.
        CheckpointError: if it is damaged, or ``target`` has another ending.
        WeightsError: if it is of another model.
    """
    target = Path(target)
    if target.suffix != ".pth":
        raise CheckpointError(f"{target} must end in .pth, the format that detectron2 reads")
    state = to_detectron2(newest_checkpoint(source).weights)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:  # whose errors name the file
            torch.save({"model": {name: value.contiguous() for name, value in state.items()}}, file)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return sum(value.numel() for value in state.values())
