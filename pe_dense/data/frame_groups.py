"""Batches made of groups of frames of one video: pairs, or clips."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from pe_dense.data.loader import Sample, TrainLoader, check_workers, rank_and_world_size
from pe_dense.data.mapper import ImageDataset
from pe_dense.data.sampler import TrainSampler


class FrameGroups(Protocol):
    """Groups of frames, each led by a frame of its own."""

    def __len__(self) -> int:
        """How many frames can lead a group."""

    def sample(self, index: int, rng: np.random.Generator) -> list[Sample]:
        """The group that a frame leads, as a model takes it; the others of the group and the augmentation are drawn."""


def check_group_batches(batch_size: int, size: int, num_workers: int, kind: str, remark: str = "") -> None:
    """Raise ``ValueError`` if batches cannot be made of groups of ``size`` frames.

    Args:
        batch_size: frames per step over all processes.
        size: frames of a group.
        num_workers: worker processes of each process.
        kind: of the groups, for the message: "pairs".
        remark: what follows the multiple in the message.
    """
    check_workers(num_workers)
    multiple = size * rank_and_world_size()[1]
    if batch_size < 1 or batch_size % multiple:
        raise ValueError(
            f"batch_size {batch_size} is the number of frames per step over all processes, which come in {kind}: it "
            f"must be a positive multiple of {multiple}{remark}"
        )


def group_loader(
    dataset: ImageDataset, groups: FrameGroups, size: int, batch_size: int, num_workers: int, seed: int
) -> TrainLoader:
    """Loader in whose batches the frames of a group stand together, with the same ``clip``, a number.

    Every frame that can leads a group once in a pass over these frames. Which groups a step sees follows from the seed
    and the step, so that a resumed run sees the same ones.

    Args:
        dataset: of all frames.
        groups: of ``size`` frames each.
        size, batch_size, num_workers: see :func:`check_group_batches`.
        seed: of the order, the groups and the augmentations.
    """
    rank, world_size = rank_and_world_size()
    sampler = TrainSampler(len(groups), batch_size // size, seed, rank, world_size)
    return TrainLoader(dataset, _GroupBatches(groups, sampler), batch_size, num_workers)


class _GroupBatches(Dataset):
    """Batch number -> samples of this process."""

    def __init__(self, groups: FrameGroups, sampler: TrainSampler) -> None:
        self.groups, self.sampler = groups, sampler

    def __getitem__(self, step: int) -> list[Sample]:
        return [
            {**sample, "clip": place}
            for place in self.sampler.positions(step)
            for sample in self.groups.sample(self.sampler.image(place), self.sampler.generator(place))
        ]
