"""Batches for training and testing."""

from __future__ import annotations

import atexit
import itertools
import signal
import sys
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from pe_dense.data.coco import CocoDataset
from pe_dense.data.errors import DataError
from pe_dense.data.mapper import ImageDataset, MappedDataset
from pe_dense.data.packing import PackedBatch
from pe_dense.data.repeat_factors import repeat_factors
from pe_dense.data.sampler import RepeatFactorSampler, TrainSampler, shard, shard_clips
from pe_dense.data.transforms import Transform

Sample = dict[str, Any]

_GRACE_SECONDS = 60


class TrainLoader:
    """Endless batches; batch number ``s`` depends only on the seed and ``s``, not on the number of workers.

    Attributes:
        dataset: the data set, without the transforms.
        batch_size: images per step over all processes.
        steps_per_epoch: images / batch_size, not rounded.
    """

    def __init__(self, dataset: ImageDataset, batches: Dataset, batch_size: int, num_workers: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.steps_per_epoch = len(dataset) / batch_size
        self._batches = batches  # batch number -> samples of this process
        self._num_workers = num_workers

    def iterate(self, start: int = 0) -> Iterator[list[Sample]]:
        """This process's share of batch ``start``, ``start + 1``, ... without end.

        Raises:
            DataError: if an image or annotation cannot be used, naming it.
        """
        yield from _iterate(self._batches, itertools.count(start), self._num_workers)


class TestLoader:
    """Every image of a data set exactly once over all processes, in batches, in order.

    Of a data set with ``clip_bounds``, such as :class:`~pe_dense.data.VideoFrames` and
    :class:`~pe_dense.data.mot.TrackedFrames`, a clip stays in one process.

    Attributes:
        dataset: the data set, without the transforms.
    """

    __test__ = False  # not a test class

    def __init__(self, dataset: ImageDataset, mapped: MappedDataset, batch_size: int, num_workers: int) -> None:
        self.dataset = dataset
        rank, world_size = rank_and_world_size()
        bounds = getattr(dataset, "clip_bounds", None)
        mine = shard(len(dataset), rank, world_size) if bounds is None else shard_clips(bounds, rank, world_size)
        self._batches = _TestBatches(mapped, [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)])
        self._num_workers = num_workers

    def __len__(self) -> int:
        """Batches of this process."""
        return len(self._batches.indices)

    def __iter__(self) -> Iterator[list[Sample]]:
        return _iterate(self._batches, range(len(self)), self._num_workers)


def build_train_loader(
    dataset: ImageDataset,
    transforms: Sequence[Transform],
    batch_size: int,
    num_workers: int = 4,
    seed: int = 0,
    repeat_threshold: float | None = None,
) -> TrainLoader:
    """Loader for training.

    Args:
        dataset: such as :class:`~pe_dense.data.coco.CocoDataset`.
        transforms: augmentations, in order.
        batch_size: images per step over all processes; a multiple of their number.
        num_workers: worker processes of each process; 0 loads in the process itself.
        seed: of the order and the augmentations.
        repeat_threshold: share of the images; those with a class that fewer images have are seen more often, as on LVIS
            (0.001 there); ``None``: all alike. An epoch still counts each image once.

    Raises:
        ValueError: if ``batch_size``, ``seed``, ``repeat_threshold`` or the data set's size is unusable.
        FileNotFoundError: if images of a COCO data set are not there.
    """
    check_workers(num_workers)
    check_images(dataset)
    rank, world_size = rank_and_world_size()
    if repeat_threshold is None:
        sampler = TrainSampler(len(dataset), batch_size, seed, rank, world_size)
    else:
        sampler = RepeatFactorSampler(repeat_factors(dataset, repeat_threshold), batch_size, seed, rank, world_size)
    return TrainLoader(dataset, _TrainBatches(MappedDataset(dataset, transforms), sampler), batch_size, num_workers)


def build_test_loader(
    dataset: ImageDataset,
    transforms: Sequence[Transform],
    batch_size: int = 1,
    num_workers: int = 2,
    with_instances: bool = False,
) -> TestLoader:
    """Loader for testing.

    Args:
        dataset: such as :class:`~pe_dense.data.coco.CocoDataset` or :class:`~pe_dense.data.image_folder.ImageFolder`.
        transforms: in order; random ones draw the same numbers at each pass.
        batch_size: images per batch of each process; the last batch may be smaller.
        num_workers: worker processes of each process; 0 loads in the process itself.
        with_instances: give the ground truth along, whatever there is (for drawing; models do not need it).

    Raises:
        ValueError: if ``batch_size`` or ``num_workers`` is unusable.
        FileNotFoundError: if images of a COCO data set are not there.
    """
    check_workers(num_workers)
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} is not positive; give at least 1")
    check_images(dataset)
    mapped = MappedDataset(dataset, transforms, with_instances=with_instances)
    return TestLoader(dataset, mapped, batch_size, num_workers)


class _TrainBatches(Dataset):
    """Batch number -> samples of this process."""

    def __init__(self, mapped: MappedDataset, sampler: TrainSampler) -> None:
        self.mapped = mapped
        self.sampler = sampler

    def __getitem__(self, step: int) -> list[Sample]:
        places = self.sampler.positions(step)
        return [self.mapped.sample(self.sampler.image(p), self.sampler.generator(p)) for p in places]


class _TestBatches(Dataset):
    """Batch number -> samples of this process."""

    def __init__(self, mapped: MappedDataset, indices: list[range]) -> None:
        self.mapped = mapped
        self.indices = indices

    def __getitem__(self, number: int) -> list[Sample]:
        return [self.mapped[i] for i in self.indices[number]]


class _Packed(Dataset):
    """Runs in a worker: packs each batch, and sends the user's errors as values so that they arrive as they are."""

    def __init__(self, batches: Dataset) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> PackedBatch:
        try:
            return PackedBatch(self.batches[number], shared=True)
        except (DataError, FileNotFoundError) as error:
            return PackedBatch(error)


def _iterate(batches: Dataset, numbers: Iterable[int], num_workers: int) -> Iterator[list[Sample]]:
    if num_workers == 0:
        for number in numbers:
            yield batches[number]
        return
    loader = DataLoader(
        _Packed(batches),
        batch_size=None,
        sampler=numbers,
        num_workers=num_workers,
        collate_fn=_unchanged,
        worker_init_fn=_prepare_worker,
        # in a process that was spawned itself, workers would be spawned too and import everything anew
        multiprocessing_context="fork" if sys.platform == "linux" else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the global one must not change, or a resumed run would differ
    )
    stream = _unpacked(loader)
    stop = partial(_close, weakref.ref(stream))
    atexit.register(stop)  # a stream that is alive when the program ends must let its workers go first
    try:
        yield from stream
    finally:
        atexit.unregister(stop)


def _unpacked(loader: DataLoader) -> Generator[list[Sample], None, None]:
    for packed in loader:
        batch = packed.unpack()
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _close(stream: weakref.ReferenceType[Generator[list[Sample], None, None]]) -> None:
    alive = stream()
    if alive is not None:
        alive.close()


def _unchanged(batch: Any) -> Any:
    return batch


def _prepare_worker(worker: int) -> None:
    """One thread per worker; a signal to the whole process group must not take the workers away from the trainer,
    which still finishes its step and saves: Ctrl-C is ignored, after SIGTERM a worker lives on for a minute at most.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))


def check_workers(num_workers: int) -> None:
    """Raise ``ValueError`` for a negative number."""
    if num_workers < 0:
        raise ValueError(f"num_workers {num_workers} is negative; give 0 (no worker processes) or more")


def check_images(dataset: ImageDataset) -> None:
    """Here and not in the data set's constructor: parts of a data set may be used where not all of it is."""
    if isinstance(dataset, CocoDataset):
        dataset.check_images()
    for part in getattr(dataset, "parts", {}).values():
        check_images(part)


def rank_and_world_size() -> tuple[int, int]:
    """Of this process; (0, 1) outside a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
