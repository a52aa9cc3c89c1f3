"""Questions to the process group that have an answer in a single process too."""

from __future__ import annotations

import os
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def is_initialized() -> bool:
    """True inside a process group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process among all; 0 without a process group."""
    return dist.get_rank() if is_initialized() else 0


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if is_initialized() else 1


def local_rank() -> int:
    """Number of this process on its machine (torchrun's ``LOCAL_RANK``); 0 without a process group."""
    return int(os.environ.get("LOCAL_RANK", "0")) if is_initialized() else 0


def is_main() -> bool:
    """True in the process that writes files and talks to the user."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def gather_objects(item: T) -> list[T]:
    """One object of every process, in rank order, in every process."""
    if world_size() == 1:
        return [item]
    gathered: list[T] = [item] * world_size()
    dist.all_gather_object(gathered, item)
    return gathered


def broadcast_object(item: T) -> T:
    """The main process's object in every process."""
    if world_size() == 1:
        return item
    box = [item]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def max_over_processes(values: list[float]) -> list[float]:
    """Element-wise maximum over all processes (a CPU tensor: the group needs gloo for the CPU)."""
    if world_size() == 1:
        return values
    reduced: Tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(reduced, op=dist.ReduceOp.MAX)
    return reduced.tolist()


def mean_over_processes(values: list[float]) -> list[float]:
    """Element-wise mean over all processes."""
    if world_size() == 1:
        return values
    reduced: Tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(reduced)
    return (reduced / world_size()).tolist()
