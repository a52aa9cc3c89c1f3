"""Several data sets as one: with all labels of each image, or one after the other."""

from __future__ import annotations

import bisect
import logging
import os
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from pe_dense.data.coco import CocoDataset
from pe_dense.data.depth import DepthImages
from pe_dense.data.errors import DataError
from pe_dense.data.file_pairs import check_same_size
from pe_dense.data.mapper import ImageDataset
from pe_dense.data.sem_seg import SemSegFolder
from pe_dense.structures import Categories
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)


class CombinedDataset:
    """What the data sets below share.

    Args:
        parts: data sets by name.

    Attributes:
        parts: the same.
        labels: what items may carry, of "instances", "depth" and "sem_seg".
        categories: classes of the objects, ``None`` without any.
        classes: names of the classes of the pixels, ``None`` without any.
        masks: whether objects have masks.
        separate: whether an item is of one part, rather than of all.

    Raises:
        DataError: if parts with the same kind of labels have different classes.
    """

    separate = False

    def __init__(self, parts: Mapping[str, ImageDataset]) -> None:
        self.parts = dict(parts)
        self.labels = tuple(
            dict.fromkeys(label for part in self.parts.values() for label in getattr(part, "labels", ()))
        )
        self.categories: Categories | None = self._common("instances", "categories")
        self.classes: list[str] | None = self._common("sem_seg", "classes")
        self.masks = any(getattr(part, "masks", False) for part in self.parts.values())

    def _common(self, label: str, attribute: str) -> Any:
        """An attribute of the parts with one kind of labels, which all must have in common."""
        found = {n: getattr(p, attribute, None) for n, p in self.parts.items() if label in getattr(p, "labels", ())}
        names = list(found)
        for name in names[1:]:
            if found[name] != found[names[0]]:
                raise DataError(
                    f"the data sets {names[0]} and {name} both have {label}, but other classes; one head learns from "
                    f"both, so give them the same classes, or leave one out"
                )
        return found[names[0]] if names else None


class JointDataset(CombinedDataset):
    """Images with several kinds of labels, each read by a data set of its own.

    The images are those that all of them have, known by their path; others are left out, with a count in the log. An
    evaluator of the same name (``detection``, ``depth``, ``sem_seg``) gets the image id of its own data set.

    Args:
        detection: objects.
        depth: depth maps.
        sem_seg: classes of the pixels.

    Raises:
        ValueError: for fewer than two data sets.
        DataError: if they have no image in common.
    """

    def __init__(
        self,
        detection: CocoDataset | None = None,
        depth: DepthImages | None = None,
        sem_seg: SemSegFolder | None = None,
    ) -> None:
        given = {"detection": detection, "depth": depth, "sem_seg": sem_seg}
        parts: dict[str, Any] = {name: part for name, part in given.items() if part is not None}
        if len(parts) < 2:
            raise ValueError(f"JointDataset joins at least two of {', '.join(given)}; use one data set by itself")
        super().__init__(parts)
        self._detection, self._depth, self._sem_seg = detection, depth, sem_seg
        self._places = self._join()

    def _join(self) -> list[dict[str, int]]:
        """For each image in common its place in every part."""
        places = {name: {_path(part, i): i for i in range(len(part))} for name, part in self.parts.items()}
        first, *others = places.values()
        common = [path for path in first if all(path in other for other in others)]
        if not common:
            examples = " and ".join(f"{next(iter(paths), 'none')} ({name})" for name, paths in places.items())
            raise DataError(f"the data sets have no image in common, e.g. {examples}; give all the same image files")
        for name, paths in places.items():
            if alone := len(paths) - len(common):
                logger.warning("%s of %s left out: not in all joined data sets", counted(alone, "image"), name)
        return [{name: paths[path] for name, paths in places.items()} for path in common]

    def __len__(self) -> int:
        return len(self._places)

    def file_name(self, index: int) -> str:
        """Path of image ``index``."""
        name, place = next(iter(self._places[index].items()))
        return _path(self.parts[name], place)

    def unlabelled(self, index: int) -> dict[str, Any]:
        """As :meth:`__getitem__`, without labels."""
        item = self._image(index)
        item.pop("annotations", None)
        return item

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item ``index``: the image and all its labels.

        Returns:
            What the data sets give, of ``annotations``, ``depth`` and ``sem_seg``; and ``image_ids``: the id in each of
            them by name.

        Raises:
            FileNotFoundError, DataError: if a file cannot be read, or labels and image differ in size.
        """
        item, places = self._image(index), self._places[index]
        if self._depth is not None:
            item["depth"] = self._depth.read_depth(places["depth"])
            check_same_size(item, item["depth"], f"depth map {self._depth.pairs[places['depth']].labels}")
        if self._sem_seg is not None:
            item["sem_seg"] = self._sem_seg.read_sem_seg(places["sem_seg"])
            check_same_size(item, item["sem_seg"], f"mask {self._sem_seg.pairs[places['sem_seg']].labels}")
        return item

    def _image(self, index: int) -> dict[str, Any]:
        """The item of the first part: the image, read once."""
        places = self._places[index]
        ids = dict(places)
        if self._detection is not None:
            item = self._detection[places["detection"]]
            ids["detection"] = item["image_id"]
        elif self._depth is not None:
            item = self._depth.unlabelled(places["depth"])
        return {**item, "image_ids": ids}


class MixedDataset(CombinedDataset):
    """Data sets one after the other, e.g. to test on all of them in one pass.

    An evaluator of the name of a part gets the images of that part, with their own ids.

    Args:
        parts: data sets by name.

    Raises:
        ValueError: without any data set.
        DataError: if parts with the same kind of labels have different classes.
    """

    separate = True

    def __init__(self, parts: Mapping[str, ImageDataset]) -> None:
        if not parts:
            raise ValueError("MixedDataset: parts is empty; give at least one data set")
        super().__init__(parts)
        self._ends = list(accumulate(len(part) for part in self.parts.values()))

    def __len__(self) -> int:
        return self._ends[-1]

    def file_name(self, index: int) -> str:
        """Name of image ``index``."""
        name, place = self._find(index)
        return self.parts[name].file_name(place)

    def unlabelled(self, index: int) -> dict[str, Any]:
        """As :meth:`__getitem__`, without labels where a part can leave them out."""
        name, place = self._find(index)
        part = self.parts[name]
        return _with_id(getattr(part, "unlabelled", part.__getitem__)(place), name)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item ``index``: that of its part, and ``image_ids``: its id by the part's name."""
        name, place = self._find(index)
        return _with_id(self.parts[name][place], name)

    def _find(self, index: int) -> tuple[str, int]:
        """Name of the part and place in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of a data set of {counted(len(self), 'image')}")
        number = bisect.bisect_right(self._ends, index)
        name = list(self.parts)[number]
        return name, index - (self._ends[number] - len(self.parts[name]))


def _with_id(item: dict[str, Any], name: str) -> dict[str, Any]:
    """A part that is a :class:`JointDataset` has told the ids already."""
    return item if "image_ids" in item else {**item, "image_ids": {name: item["image_id"]}}


def _path(part: ImageDataset, index: int) -> str:
    """Whole path of an image."""
    root = getattr(part, "image_root", Path())
    return os.path.abspath(Path(root) / part.file_name(index))
