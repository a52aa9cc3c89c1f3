"""The labelled part of NYU Depth v2: one file of 1,449 images with dense depth."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy.io import loadmat

from pe_dense.data.depth import DepthChecks
from pe_dense.data.errors import DataError
from pe_dense.structures.wording import counted


class NYUDepthMat:
    """``nyu_depth_v2_labeled.mat`` (Silberman et al. 2012), read through h5py (``pip install pe_dense[formats]``).

    Args:
        file: the .mat file (version 7.3).
        split: ``train`` (795 images) or ``test`` (654), which ``splits_file`` defines; ``None`` takes all.
        splits_file: the ``splits.mat`` that comes with it; ``None`` is the one beside ``file``.
        raw: the sensor's depth with its holes, rather than the one with holes filled in.

    Raises:
        ImportError: without h5py.
        FileNotFoundError: if a file does not exist.
        ValueError: for an unknown split.
        DataError: if the file is not the labelled data set.
    """

    labels = ("depth",)

    def __init__(
        self,
        file: str | os.PathLike[str],
        split: str | None = None,
        splits_file: str | os.PathLike[str] | None = None,
        raw: bool = False,
    ) -> None:
        self.file = Path(file).expanduser()
        self._depths = "rawDepths" if raw else "depths"
        if not self.file.is_file():
            raise FileNotFoundError(f"{self.file} does not exist; set it to nyu_depth_v2_labeled.mat")
        count = self._count()
        places: Iterable[int] = range(count)
        if split is not None:
            places = self._split(split, Path(splits_file) if splits_file else self.file.with_name("splits.mat"))
        self._places = list(places)
        if max(self._places, default=0) >= count:
            raise DataError(f"{self.file} has {counted(count, 'image')}, but its split names number "
                            f"{max(self._places) + 1}; use the splits.mat that belongs to it")  # fmt: skip
        self._checks = DepthChecks((0.2, 10.0))

    def __len__(self) -> int:
        return len(self._places)

    def file_name(self, index: int) -> str:
        """The file and the image's number in it, from 1 as in ``splits.mat``."""
        return f"{self.file}#{self._places[index] + 1}"

    def read_depth(self, index: int) -> np.ndarray:
        """Depth of item (and image id) ``index``: H x W float32 metres, 0 = unknown."""
        depth = np.array(self._read(self._depths, index).T, dtype=np.float32, order="C")
        return self._checks(depth, f"depth of {self.file_name(index)}", None)

    def unlabelled(self, index: int) -> dict[str, Any]:
        """``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id`` (= ``index``) and ``file_name``."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of a data set of {counted(len(self), 'image')}")
        image = np.ascontiguousarray(self._read("images", index).transpose(2, 1, 0))  # stored channel, column, row
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "height": image.shape[0],
            "width": image.shape[1],
            "image_id": index % len(self),
            "file_name": self.file_name(index),
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item ``index``: as :meth:`unlabelled`, with ``depth``."""
        return {**self.unlabelled(index), "depth": self.read_depth(index)}

    def _read(self, name: str, index: int) -> np.ndarray:
        # opened for each image: an open file must not be shared by worker processes
        with _h5py().File(self.file, "r") as content:
            values: np.ndarray = content[name][self._places[index]]
        return values

    def _count(self) -> int:
        h5py = _h5py()
        try:
            with h5py.File(self.file, "r") as content:
                images, depths = content["images"].shape, content[self._depths].shape
        except (OSError, KeyError) as error:
            raise DataError(
                f"{self.file} is not the labelled NYU data set ({error}); download nyu_depth_v2_labeled.mat again"
            ) from None
        if len(images) != 4 or images[1] != 3 or (images[0], *images[2:]) != depths:
            raise DataError(f"{self.file} has images {images} and depths {depths}; download it again")
        return int(images[0])

    @staticmethod
    def _split(split: str, splits_file: Path) -> list[int]:
        if split not in ("train", "test"):
            raise ValueError(f'NYUDepthMat: split is "{split}"; choose "train", "test" or None')
        if not splits_file.is_file():
            raise FileNotFoundError(f"{splits_file} does not exist; give splits_file, the splits.mat of NYU Depth v2")
        return [int(i) - 1 for i in loadmat(splits_file)[f"{split}Ndxs"].ravel()]


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise ImportError("NYUDepthMat needs h5py: pip install h5py, or pip install pe_dense[formats]") from None
    module: ModuleType = h5py
    return module
