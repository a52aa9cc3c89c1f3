"""A new run from the weights of another: all of them, or all but what the new task shapes differently."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from pe_dense.config.errors import did_you_mean
from pe_dense.engine.checkpoint import Checkpoint, CheckpointError, check_fits
from pe_dense.engine.optim import name_fits
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

_FEW = 12  # parts


def start_from(model: nn.Module, source: Checkpoint, skip: Sequence[str] = ()) -> None:
    """Load the weights of another run, strictly but for the names in ``skip``.

    Args:
        model: keeps its own, random values of what is skipped.
        source: the weights to start from.
        skip: ``train.init_skip``: beginnings of names, or ``fnmatch`` patterns of whole names. What only the source
            has may be among them.

    Raises:
        CheckpointError: if an entry of ``skip`` matches no name, or the rest does not fit; if that is little, it says
            what to skip.
    """
    own, given = model.state_dict(), source.weights
    names = [*own, *(name for name in given if name not in own)]
    for pattern in skip:
        if not any(name_fits(name, pattern) for name in names):
            hint = did_you_mean(pattern, {part for name in names for part in _beginnings(name)})
            raise CheckpointError(
                f"train.init_skip: no parameter of the model, or of {source.path}, matches '{pattern}': give the "
                f"beginning of a name, or a pattern such as 'roi_heads.*.bias'{hint}"
            )
    skipped = {name for name in names if any(name_fits(name, pattern) for pattern in skip)}
    kept = {name: value for name, value in given.items() if name not in skipped}
    wanted = {name: value for name, value in own.items() if name not in skipped}
    try:
        check_fits(_shapes(wanted), _shapes(kept), source.path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_suggestion(wanted, kept, skip)}") from error
    model.load_state_dict(kept, strict=False)
    fresh = counted(sum(name in skipped for name in own), "tensor")
    note = f"; {fresh} stay random (train.init_skip=[{','.join(skip)}])" if skip else ""
    logger.info("new run from the weights of %s (step %d)%s", source.path, source.step, note)


def _beginnings(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _suggestion(own: Mapping[str, Tensor], given: Mapping[str, Tensor], skip: Sequence[str]) -> str:
    """The end of a sentence: what to skip where most fits. With much that does not fit it may be another model."""
    names = own.keys() | given.keys()
    fitting = {name for name in own.keys() & given.keys() if own[name].shape == given[name].shape}
    if len(fitting) < len(names) / 2:
        return ""
    parts = sorted({_own_beginning(name, fitting) for name in names - fitting})
    remedy = "to start these layers anew, set"
    if len(parts) > _FEW:
        remedy = f"build the model as that of the file, or start what differs anew: its {len(parts)} parts are"
    return f"; {remedy} train.init_skip=[{','.join([*skip, *parts])}]"


def _own_beginning(name: str, others: Iterable[str]) -> str:
    """The shortest beginning of a name, of whole words, with which no other starts."""
    for words in _beginnings(name)[:-1]:
        if not any(other.startswith(f"{words}.") for other in others):
            return f"{words}."
    return name
