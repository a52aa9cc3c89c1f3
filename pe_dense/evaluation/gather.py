"""Bringing the results of all processes to the first one, and its conclusions back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

T = TypeVar("T")
Shard = Mapping[int, bytes]


def _rank_and_size() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) outside a distributed run."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather_shards(shard: Shard, folder: Path | None) -> list[Shard] | None:
    """Collect each process's records on the first process.

    Args:
        shard: image id -> json text of its rows, without line breaks.
        folder: where each process writes its records for the first one to read (a folder that all of them see), which
            keeps them out of memory; None sends them over the process group.

    Returns:
        One shard per process on the first process, None on the others.

    Raises:
        RuntimeError: in every process, if one could not write, or the first cannot see what another wrote.
    """
    rank, size = _rank_and_size()
    if size == 1:
        return [shard]
    if folder is None:
        return gather_values(dict(shard))
    files = [folder / f".results_rank{i:05d}.jsonl" for i in range(size)]
    _raise_together(lambda: _write(shard, files[rank]))
    shards: list[Shard] | None = None
    if rank == 0:
        shards = [shard]

    def read() -> None:
        if shards is not None:
            shards.extend(_read(file) for file in files[1:])

    _raise_together(read)
    files[rank].unlink(missing_ok=True)
    return shards


def gather_values(value: T) -> list[T] | None:
    """Each process's value, in their order, on the first process; None on the others."""
    rank, size = _rank_and_size()
    if size == 1:
        return [value]
    received: list[Any] | None = [None] * size if rank == 0 else None
    dist.gather_object(value, received)
    return received


def merge_shards(shards: Sequence[Shard], num_images: int, source: str) -> dict[int, bytes]:
    """The records of all processes, each image once, by image id.

    Args:
        shards: of :func:`gather_shards`.
        num_images: that the data set has, for a warning when fewer were processed.
        source: what the data set is called in messages.

    Raises:
        ValueError: if no image was processed.
    """
    merged: dict[int, bytes] = {}
    for shard in shards:
        merged.update(shard)
    if not merged:
        raise ValueError(f"no image was processed, so {source} cannot be evaluated; is the loader empty?")
    if repeated := sum(map(len, shards)) - len(merged):
        logger.warning("%s processed more than once; each counts once", counted(repeated, "image"))
    if len(merged) < num_images:
        logger.warning(
            "evaluating %d of the %d images of %s; the others were not processed", len(merged), num_images, source
        )
    return dict(sorted(merged.items()))


def from_first_process(compute: Callable[[], T]) -> T:
    """Run ``compute`` on the first process and return its value in all of them.

    Raises:
        RuntimeError: on the other processes, if ``compute`` raised on the first, which raises the error itself.
    """
    rank, size = _rank_and_size()
    if size == 1:
        return compute()
    message: list[Any] = [None, None]
    failure: Exception | None = None
    if rank == 0:
        try:
            message[0] = compute()
        except Exception as error:  # whatever it is, the other processes must not wait for a value
            failure, message[1] = error, str(error)
    dist.broadcast_object_list(message, src=0)
    if failure is not None:
        raise failure
    if message[1] is not None:
        raise RuntimeError(f"the first process failed: {message[1]}")
    return message[0]


def _raise_together(step: Callable[[], None]) -> None:
    """Run ``step`` in every process; if it fails in one, raise in all instead of leaving the others waiting."""
    failure = ""
    try:
        step()
    except OSError as error:
        failure = str(error)
    failures: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(failures, failure)
    for rank, text in enumerate(failures):
        if text:
            raise RuntimeError(
                f"process {rank} could not exchange results through files ({text}); "
                "the output directory must be on a file system that all processes share"
            )


def _write(shard: Shard, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        for image_id, rows in shard.items():
            out.write(b"%d %s\n" % (image_id, rows))


def _read(file: Path) -> Shard:
    with file.open("rb") as lines:
        pairs = (line.rstrip(b"\n").split(b" ", 1) for line in lines)
        return {int(image_id): rows for image_id, rows in pairs}
