"""Batches of pairs of frames in which the same objects are seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from pe_dense.data.errors import DataError
from pe_dense.data.loader import Sample, TrainLoader, check_workers, rank_and_world_size
from pe_dense.data.mapper import MappedDataset
from pe_dense.data.mot import TrackedFrames
from pe_dense.data.sampler import TrainSampler
from pe_dense.data.transforms import Transform
from pe_dense.structures.wording import counted


class FramePairs:
    """Which frames go together: two of one clip, at most ``max_gap`` frames apart, with an object in common.

    Args:
        dataset: the frames.
        max_gap: see above.

    Attributes:
        keys: int64, the frames that have a partner, ascending.

    Raises:
        ValueError: if ``max_gap`` is below 1.
        DataError: if there is no pair.
    """

    def __init__(self, dataset: TrackedFrames, max_gap: int) -> None:
        if max_gap < 1:
            raise ValueError(f"max_gap must be at least 1, it is {max_gap}: a frame makes no pair with itself")
        self._seen = [frozenset(dataset.identities(index).tolist()) for index in range(len(dataset))]
        self._bounds = dataset.clip_bounds
        self._max_gap = max_gap
        self.keys = np.array([i for i in range(len(dataset)) if self.partners(i)], dtype=np.int64)
        if not len(self.keys):
            clips = counted(len(dataset.clips), "sequence")
            raise DataError(
                f"{dataset.source}: no two frames of a sequence show the same object within max_gap={max_gap} frames "
                f"({clips} with {counted(len(dataset), 'frame')}); give videos with track ids that last, not single "
                f"images, or raise max_gap"
            )

    def partners(self, index: int) -> list[int]:
        """Frames that go with frame ``index``, ascending."""
        clip = int(np.searchsorted(self._bounds, index, side="right")) - 1
        first = max(int(self._bounds[clip]), index - self._max_gap)
        stop = min(int(self._bounds[clip + 1]), index + self._max_gap + 1)
        own = self._seen[index]
        return [i for i in range(first, stop) if i != index and not own.isdisjoint(self._seen[i])]


def build_pair_loader(
    dataset: TrackedFrames,
    transforms: Sequence[Transform],
    batch_size: int,
    max_gap: int = 10,
    num_workers: int = 4,
    seed: int = 0,
) -> TrainLoader:
    """Loader for training on pairs of frames: samples 0 and 1 of a batch are a pair, and 2 and 3, and so on.

    Every frame that has a partner is the first of a pair once in a pass over these frames; the second is drawn at
    random among its partners. Both follow from the seed and the step, so that a resumed run sees the same pairs. The
    transforms draw other numbers for the second than for the first. An epoch sees as many frames as there are.

    Args:
        dataset: such as :class:`~pe_dense.data.mot.MotFrames`.
        transforms: augmentations, in order.
        batch_size: frames per step over all processes: twice the pairs, a multiple of twice the processes.
        max_gap: how many frames a pair lies apart at most.
        num_workers: worker processes of each process; 0 loads in the process itself.
        seed: of the order, the partners and the augmentations.

    Raises:
        ValueError: if ``batch_size``, ``max_gap``, ``seed`` or ``num_workers`` is unusable.
        DataError: if no two frames make a pair.
    """
    check_workers(num_workers)
    rank, world_size = rank_and_world_size()
    if batch_size < 2 or batch_size % (2 * world_size):
        raise ValueError(
            f"batch_size {batch_size} is the number of frames per step over all processes, which come in pairs: it "
            f"must be a positive multiple of {2 * world_size}, twice the number of processes"
        )
    pairs = FramePairs(dataset, max_gap)
    sampler = TrainSampler(len(pairs.keys), batch_size // 2, seed, rank, world_size)
    batches = _PairBatches(MappedDataset(dataset, transforms), pairs, sampler)
    return TrainLoader(dataset, batches, batch_size, num_workers)


class _PairBatches(Dataset):
    """Batch number -> samples of this process."""

    def __init__(self, mapped: MappedDataset, pairs: FramePairs, sampler: TrainSampler) -> None:
        self.mapped, self.pairs, self.sampler = mapped, pairs, sampler

    def __getitem__(self, step: int) -> list[Sample]:
        samples = []
        for position in self.sampler.positions(step):
            rng = self.sampler.generator(position)
            first = int(self.pairs.keys[self.sampler.image(position)])
            partners = self.pairs.partners(first)
            second = partners[int(rng.integers(len(partners)))]
            samples += [self.mapped.sample(first, rng), self.mapped.sample(second, rng)]
        return samples
