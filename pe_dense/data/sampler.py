"""Which images make up which batch."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np


class TrainSampler:
    """An endless stream of images, shuffled anew each epoch, cut into batches.

    Everything follows from (seed, step): nothing has to be replayed to continue at a step. Batch ``s`` covers the
    positions ``s * batch_size`` to ``(s + 1) * batch_size - 1`` of the stream; process ``rank`` takes its consecutive
    share.

    Args:
        num_images: size of the data set.
        batch_size: images per step over all processes.
        seed: not negative.
        rank, world_size: this process and the number of processes.

    Raises:
        ValueError: if there is no image, the seed is negative, or the processes cannot share a batch evenly.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if num_images < 1:
            raise ValueError("the training data set has no images; check json_file and skip_empty")
        if seed < 0:
            raise ValueError(f"seed {seed} is negative; give 0 or more")
        self.num_images = num_images
        self.seed = seed
        self.batch_size = batch_size
        self._share = process_share(batch_size, rank, world_size)
        self._epoch = -1
        self._order = np.zeros(0, dtype=np.int64)

    def positions(self, step: int) -> range:
        """Stream positions of this process's share of batch ``step``."""
        start = step * self.batch_size
        return range(start + self._share.start, start + self._share.stop)

    def image(self, position: int) -> int:
        """Index of the image at a stream position."""
        epoch, place = divmod(position, self.num_images)
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(self.num_images)
            self._epoch = epoch
        return int(self._order[place])

    def generator(self, position: int) -> np.random.Generator:
        """Random numbers for the augmentation of the image at a stream position."""
        return np.random.default_rng((self.seed, 1, position))


class RepeatFactorSampler(TrainSampler):
    """As :class:`TrainSampler`, with some images more than once in an epoch (arXiv 1908.03195, appendix B.2).

    In each epoch an image comes as often as its factor says, rounded up or down at random so that the mean is right,
    and all are shuffled together. Epochs differ in length: where one begins follows from the rounding in those before
    it, which is repeated from the seed once in each process.

    Args:
        factors: per image, at least 1.
        batch_size, seed, rank, world_size: see :class:`TrainSampler`.

    Raises:
        ValueError: see :class:`TrainSampler`.
    """

    def __init__(self, factors: np.ndarray, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(len(factors), batch_size, seed, rank, world_size)
        self._factors = factors
        self._starts = [0]  # stream position of the first image of each epoch, as far as it was needed

    def image(self, position: int) -> int:
        """Index of the image at a stream position."""
        while self._starts[-1] <= position:
            self._starts.append(self._starts[-1] + int(self._repeats(len(self._starts) - 1).sum()))
        epoch = bisect_right(self._starts, position) - 1
        if epoch != self._epoch:
            images = np.repeat(np.arange(self.num_images), self._repeats(epoch))
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(images)
            self._epoch = epoch
        return int(self._order[position - self._starts[epoch]])

    def _repeats(self, epoch: int) -> np.ndarray:
        """How often each image comes in an epoch."""
        whole = np.floor(self._factors)
        chance = np.random.default_rng((self.seed, 2, epoch)).random(self.num_images)
        return (whole + (chance < self._factors - whole)).astype(np.int64)


def process_share(batch_size: int, rank: int, world_size: int) -> range:
    """Places of a batch that process ``rank`` takes.

    Raises:
        ValueError: if the processes cannot share the batch evenly.
    """
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(
            f"batch_size {batch_size} is the number of images per step over all processes and must be a positive "
            f"multiple of their number, {world_size}"
        )
    share = batch_size // world_size
    return range(rank * share, (rank + 1) * share)


def shard(num_images: int, rank: int, world_size: int) -> range:
    """Consecutive images of process ``rank``: each image goes to exactly one process, sizes differ by at most one."""
    return range(num_images * rank // world_size, num_images * (rank + 1) // world_size)


def shard_clips(bounds: np.ndarray, rank: int, world_size: int) -> range:
    """Consecutive frames of process ``rank``, whole clips only: each goes to the process whose share has its middle.

    Args:
        bounds: C + 1 ascending int64, where each clip begins among the frames, and their number.
        rank, world_size: this process and the number of processes.
    """
    middles = bounds[:-1] + bounds[1:]  # twice
    first, last = np.searchsorted(middles * world_size, 2 * bounds[-1] * np.array([rank, rank + 1]))
    return range(int(bounds[first]), int(bounds[last]))
