"""Batches of pairs of frames in which the same objects are seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.data.frame_groups import check_group_batches, group_loader
from pe_dense.data.loader import Sample, TrainLoader
from pe_dense.data.mapper import MappedDataset
from pe_dense.data.mot import TrackedFrames
from pe_dense.data.transforms import Transform
from pe_dense.structures.wording import counted


class FramePairs:
    """Which frames go together: two of one clip, at most ``max_gap`` frames apart, with an object in common.

    Args:
        dataset: the frames.
        max_gap: see above.
        transforms: augmentations, in order.

    Attributes:
        keys: int64, the frames that have a partner, ascending.

    Raises:
        ValueError: if ``max_gap`` is below 1.
        DataError: if there is no pair.
    """

    def __init__(self, dataset: TrackedFrames, max_gap: int, transforms: Sequence[Transform] = ()) -> None:
        if max_gap < 1:
            raise ValueError(f"max_gap must be at least 1, it is {max_gap}: a frame makes no pair with itself")
        self._seen = [frozenset(dataset.identities(index).tolist()) for index in range(len(dataset))]
        self._bounds = dataset.clip_bounds
        self._max_gap = max_gap
        self._mapped = MappedDataset(dataset, transforms)
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

    def __len__(self) -> int:
        return len(self.keys)

    def sample(self, index: int, rng: np.random.Generator) -> list[Sample]:
        """Frame ``keys[index]`` and one of its partners, as a model takes them."""
        first = int(self.keys[index])
        partners = self.partners(first)
        second = partners[int(rng.integers(len(partners)))]
        return [self._mapped.sample(first, rng), self._mapped.sample(second, rng)]


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
    check_group_batches(batch_size, 2, num_workers, "pairs", ", twice the number of processes")
    pairs = FramePairs(dataset, max_gap, transforms)
    return group_loader(dataset, pairs, 2, batch_size, num_workers, seed)
