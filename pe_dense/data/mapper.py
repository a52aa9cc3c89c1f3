"""Data set + transforms -> samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from pe_dense.data.errors import DataError
from pe_dense.data.image_io import planes
from pe_dense.data.label_files import IGNORE
from pe_dense.data.rasterize import view_instances
from pe_dense.data.transforms import Transform, apply_transforms


class ImageDataset(Protocol):
    """What the loaders need of a data set (see :class:`MappedDataset` for the item's keys).

    One whose labels are costly to read has ``unlabelled(index)`` besides: the item without them; and one that is used
    beside others has ``labels``, of "instances", "depth" and "sem_seg".
    """

    def __len__(self) -> int: ...

    def file_name(self, index: int) -> str:
        """Name of item ``index``, for messages."""

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class MappedDataset:
    """Samples of a data set under a chain of transforms.

    Args:
        dataset: yields ``image`` (3 x H x W uint8), ``height``, ``width``, ``image_id``, ``file_name`` and perhaps
            ``annotations``, ``depth`` (H x W float32 metres, 0 = unknown) and ``sem_seg`` (H x W uint8 class index, 255
            = ignore), both numpy arrays.
        transforms: applied in order; the image is resampled once.
        with_instances: give the ground truth along: ``instances``, ``depth`` and ``sem_seg``; models do not need it at
            test time.
        keep_crowd: keep crowd regions among the instances, for drawing.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        transforms: Sequence[Transform] = (),
        with_instances: bool = True,
        keep_crowd: bool = False,
    ) -> None:
        self.dataset = dataset
        self.transforms = list(transforms)
        self.with_instances = with_instances
        self.keep_crowd = keep_crowd

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample ``index`` with a fixed random state of its own."""
        return self.sample(index, np.random.default_rng((0, index)))

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample ``index`` transformed with random numbers from ``rng``.

        Returns:
            ``image`` 3 x h x w uint8, ``height`` and ``width`` of the original, ``image_id``, ``file_name`` and, where
            the data set has them, in the transformed image's coordinates, ``instances``, ``depth`` h x w float32
            (unknown where there is padding) and ``sem_seg`` h x w int64 (ignored there).

        Raises:
            FileNotFoundError, DataError: naming the image file and, where one is at fault, the annotation.
        """
        try:
            return self._sample(index, rng)
        except (DataError, FileNotFoundError):
            raise
        except Exception as error:
            name = self.dataset.file_name(index)
            raise RuntimeError(f"image {name} cannot be loaded or transformed: {error!r}") from error

    def _sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        sample = dict(self._item(index))
        annotations, depth, sem_seg = (sample.pop(key, None) for key in ("annotations", "depth", "sem_seg"))
        try:
            pixels, view = apply_transforms(sample["image"].permute(1, 2, 0).numpy(), self.transforms, rng, sem_seg)
            sample["image"] = planes(pixels)
            if annotations is not None and self.with_instances:
                masks = getattr(self.dataset, "masks", False)
                sample["instances"] = view_instances(annotations, view, masks, self.keep_crowd)
        except DataError as error:
            raise DataError(f"image {sample['file_name']}: {error}") from None
        if depth is not None and self.with_instances:
            sample["depth"] = torch.from_numpy(np.ascontiguousarray(view.labels(depth, fill=0)))
        if sem_seg is not None and self.with_instances:
            sample["sem_seg"] = torch.from_numpy(view.labels(sem_seg, fill=IGNORE).astype(np.int64))
        return sample

    def _item(self, index: int) -> dict[str, Any]:
        unlabelled = None if self.with_instances else getattr(self.dataset, "unlabelled", None)
        item: dict[str, Any] = self.dataset[index] if unlabelled is None else unlabelled(index)
        return item
