"""Training batches from several data sets at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from pe_dense.data.combined import MixedDataset
from pe_dense.data.loader import TrainLoader, check_images, check_workers, rank_and_world_size
from pe_dense.data.mapper import ImageDataset, MappedDataset
from pe_dense.data.sampler import TrainSampler, process_share
from pe_dense.data.transforms import Transform


@dataclass(frozen=True)
class DataSource:
    """One of the data sets that a batch is mixed from.

    Attributes:
        dataset: with the labels of one or several tasks.
        transforms: its own augmentations, in order.
        share: its part of every batch relative to the other sources' shares; a whole number.
    """

    dataset: ImageDataset
    transforms: Sequence[Transform] = ()
    share: int = 1


def build_mixed_train_loader(
    sources: Mapping[str, DataSource], batch_size: int, num_workers: int = 4, seed: int = 0
) -> TrainLoader:
    """Loader for training on several data sets at once, each shuffled and repeated on its own.

    Every batch has the same number of images of each source, spread evenly over its places and so over the processes.
    An epoch is as many images as all data sets have; one whose share of the batch is larger than its share of the
    images is seen more than once in it. As with one data set, a batch depends only on the seed and its number.

    Args:
        sources: by name.
        batch_size: images per step over all sources and processes; a multiple of the number of processes, and of the
            sum of the shares (divided by what these have in common).
        num_workers: worker processes of each process; 0 loads in the process itself.
        seed: of the order and the augmentations.

    Raises:
        ValueError: if there is no source, or sizes, shares or seed are unusable.
        FileNotFoundError: if images of a COCO data set are not there.
        DataError: if sources with the same kind of labels have different classes.
    """
    check_workers(num_workers)
    if not sources:
        raise ValueError("sources is empty: name at least one data set")
    for source in sources.values():
        check_images(source.dataset)
    batches = _MixedBatches(sources, batch_size, seed, *rank_and_world_size())
    dataset = MixedDataset({name: source.dataset for name, source in sources.items()})
    return TrainLoader(dataset, batches, batch_size, num_workers)


class _MixedBatches(Dataset):
    """Batch number -> samples of this process."""

    def __init__(
        self, sources: Mapping[str, DataSource], batch_size: int, seed: int, rank: int, world_size: int
    ) -> None:
        counts = images_per_source({name: source.share for name, source in sources.items()}, batch_size)
        # the seeds differ: data sets of equal size would be shuffled and augmented alike
        self._samplers = [
            TrainSampler(len(source.dataset), count, _own_seed(seed, i))
            for i, (source, count) in enumerate(zip(sources.values(), counts))
        ]
        self._mapped = [MappedDataset(source.dataset, source.transforms) for source in sources.values()]
        slots = sorted(((k + 0.5) / count, i, k) for i, count in enumerate(counts) for k in range(count))
        self._slots = [slots[place][1:] for place in process_share(batch_size, rank, world_size)]

    def __getitem__(self, step: int) -> list[dict[str, Any]]:
        return [self._sample(source, self._samplers[source].positions(step)[place]) for source, place in self._slots]

    def _sample(self, source: int, position: int) -> dict[str, Any]:
        sampler = self._samplers[source]
        return self._mapped[source].sample(sampler.image(position), sampler.generator(position))


def images_per_source(shares: Mapping[str, int], batch_size: int) -> list[int]:
    """Images of each source in a batch.

    Raises:
        ValueError: for shares that are not positive whole numbers, or do not divide the batch.
    """
    for name, share in shares.items():
        if share != int(share) or share < 1:
            raise ValueError(f"sources.{name}.share is {share}; give a whole number of at least 1")
    common = gcd(*(int(share) for share in shares.values()))
    parts = [int(share) // common for share in shares.values()]
    if batch_size < 1 or batch_size % sum(parts):
        split = ", ".join(f"{name} {part}" for name, part in zip(shares, parts))
        raise ValueError(
            f"batch_size {batch_size} cannot be divided by the shares of the sources ({split}): make it a multiple of "
            f"{sum(parts)}"
        )
    return [batch_size // sum(parts) * part for part in parts]


def _own_seed(seed: int, source: int) -> int:
    if seed < 0:
        return seed  # the sampler says what is wrong
    return int(np.random.SeedSequence((seed, source)).generate_state(1)[0])
