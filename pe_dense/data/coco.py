"""COCO-format data sets."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pe_dense.config import run_constant
from pe_dense.data.annotations import AnnotationTable, ImageAnnotations
from pe_dense.data.cache import load_table
from pe_dense.data.errors import DataError
from pe_dense.data.image_io import decode_image
from pe_dense.data.repeat_factors import images_per_class
from pe_dense.structures import Categories
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)


class CocoDataset:
    """Images and objects of a COCO-format json.

    Parsed once and cached on disk (see :func:`~pe_dense.data.cache.load_table`); all worker processes share one copy of
    the annotations. What had to be left out is said in one log line.

    Args:
        json_file: COCO json with images, annotations and categories. Optional fields may be absent: ``iscrowd``,
            ``area``, ``segmentation``, annotation ``id``, image ``width`` and ``height``.
        image_root: folder that the json's ``file_name`` are relative to; for a json of LVIS (v0.5 or v1) the folder of
            COCO's ``train2017`` and ``val2017``.
        skip_empty: leave out images without any object that is not a crowd (for training).
        masks: ``True``: objects without polygons or RLE are left out, with a count; ``False``: boxes only, masks are
            neither read nor drawn; ``None``: ``True`` if any object has a mask.

    Raises:
        FileNotFoundError: if the json or the image folder does not exist.
        DataError: if the json is malformed, naming the entry at fault; if ``masks=True`` and no object has one; if
            ``skip_empty`` leaves no image.
    """

    labels = ("instances",)
    _remedy = "set image_root to the folder that their file_name is relative to, or take them out of json_file"

    def __init__(
        self,
        json_file: str | os.PathLike[str],
        image_root: str | os.PathLike[str],
        skip_empty: bool = False,
        masks: bool | None = None,
    ) -> None:
        self.json_file = Path(json_file).expanduser()
        self.image_root = Path(image_root).expanduser()
        if not self.image_root.is_dir():
            raise FileNotFoundError(f"image folder {self.image_root} does not exist; set image_root to the images")
        self._use(load_table(self.json_file), skip_empty, masks)

    def _use(self, table: AnnotationTable, skip_empty: bool, masks: bool | None) -> None:
        """Choose images and objects, as the arguments of the class say."""
        self.table = table
        present = self.table.has_masks()
        self.masks = bool(present.any()) if masks is None else masks
        if masks and not present.any():
            raise DataError(f"{self.json_file} has no segmentation at all; train without masks (masks=False)")
        self._images = self._used_images(present) if skip_empty else np.arange(len(self.table))
        self._log(int((~present).sum()) if self.masks else 0)

    @property
    def categories(self) -> Categories:
        """Class names and ids of the json."""
        return self.table.categories

    @property
    def image_ids(self) -> np.ndarray:
        """The json's image ids, one per item of this data set: int64."""
        return self.table.arrays["image_ids"][self._images]

    def __len__(self) -> int:
        return len(self._images)

    def select(self, image_ids: np.ndarray | Sequence[int]) -> CocoDataset:
        """A data set of the items whose image id is among ``image_ids``; the annotations are shared, not copied."""
        part = copy.copy(self)
        part._images = self._images[np.isin(self.image_ids, image_ids)]
        return part

    def object_classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Item and class index of every object that is trained on, crowds left out: two int64 arrays."""
        arrays = self.table.arrays
        usable = self._trained_on(self.table.has_masks())
        item_of = np.full(len(self.table), -1, dtype=np.int64)
        item_of[self._images] = np.arange(len(self))
        items = item_of[self.table.images_of_objects()]
        usable &= items >= 0
        return items[usable], arrays["classes"][usable].astype(np.int64)

    def file_name(self, index: int) -> str:
        """The json's ``file_name`` of item ``index``; an image of LVIS is found below the folder of COCO's images."""
        return self.table.file_name(int(self._images[index]))

    def annotations(self, index: int) -> ImageAnnotations:
        """Objects of item ``index`` in original coordinates, crowds included, without reading the image."""
        objects = self.table.objects(int(self._images[index]))
        if not self.masks:
            return objects.without_masks()
        return objects[np.array([i for i, s in enumerate(objects.segmentations) if s is not None], dtype=np.int64)]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item ``index``: the decoded image and its objects.

        Returns:
            ``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id``, ``file_name`` (full path) and
            ``annotations`` (:class:`ImageAnnotations`).

        Raises:
            FileNotFoundError, DataError: if the image cannot be read or has another size than the json says.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of a data set of {counted(len(self), 'image')}")
        path = self.image_root / self.file_name(index)
        image = decode_image(path, if_missing="check the image folder and file_name of the data set")
        height, width = image.shape[:2]
        expected = self.table.image_size(int(self._images[index]))
        if expected is not None and expected != (height, width):
            raise DataError(
                f"image {path} is {width} x {height} (after EXIF rotation, if any) but {self.json_file} says "
                f"{expected[1]} x {expected[0]}; correct width and height, or use the images that were annotated"
            )
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "height": height,
            "width": width,
            "image_id": int(self.table.arrays["image_ids"][self._images[index]]),
            "file_name": str(path),
            "annotations": self.annotations(index),
        }

    def check_images(self) -> None:
        """Make sure that every image file is there, before hours of training end at a missing one.

        Raises:
            FileNotFoundError: naming the first missing files and their number.
        """
        missing = self.missing_images()
        if not missing:
            return
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise FileNotFoundError(
            f"{len(missing)} of the {counted(len(self), 'image')} of {self.json_file} are not in {self.image_root}: "
            f"{shown}; {self._remedy}"
        )

    def missing_images(self) -> list[str]:
        """Those of the images' file names that are not below ``image_root``.

        Each folder is listed once, which is quick also on network file systems, where asking for each file is not.
        """
        wanted: dict[str, dict[str, None]] = {}
        for index in range(len(self)):
            folder, _, name = self.file_name(index).rpartition("/")
            wanted.setdefault(folder, {})[name] = None
        missing = [os.path.join(folder, name) for folder in wanted for name in self._absent(folder, wanted[folder])]
        # a file system that knows a file by another spelling lists it under its own: then reading will tell
        return [] if missing and (self.image_root / missing[0]).is_file() else missing

    def _absent(self, folder: str, names: Mapping[str, None]) -> Iterable[str]:
        """Those of some files of a folder below the root that are not there."""
        left = dict(names)
        try:
            with os.scandir(self.image_root / folder) as entries:
                for entry in entries:
                    left.pop(entry.name, None)
                    if not left:  # the folder may hold millions of other files
                        break
        except (FileNotFoundError, NotADirectoryError):
            return left
        except OSError:  # a folder may allow reading files but not listing them
            return ()
        return left

    def _used_images(self, present: np.ndarray) -> np.ndarray:
        before = np.concatenate([[0], np.cumsum(self._trained_on(present))])[self.table.arrays["image_offsets"]]
        used = np.flatnonzero(np.diff(before))
        if not len(used):
            raise DataError(f"{self.json_file} has no image with an object; add annotations or set skip_empty=False")
        return used

    def _trained_on(self, present: np.ndarray) -> np.ndarray:
        """Which of all objects are learnt from, given which have masks: bool."""
        usable = ~self.table.arrays["crowd"]
        return usable & present if self.masks else usable

    def _log(self, without_mask: int) -> None:
        skipped = {
            why: f"{counted(count, why)} (annotations {', '.join(map(str, ids))}{', ...' if count > len(ids) else ''})"
            for why, (count, ids) in self.table.skipped.items()
        }
        if without_mask:
            skipped["mask"] = counted(without_mask, "object without a mask")
        if len(self) < len(self.table):
            skipped["empty"] = counted(len(self.table) - len(self), "image without objects")
        logger.log(
            logging.WARNING if self.table.skipped or without_mask else logging.INFO,
            "%s: %s, %s, %s%s",
            self.json_file,
            counted(len(self), "image"),
            counted(self.table.num_objects - without_mask, "object"),
            counted(len(self.categories), "class"),
            f"; left out: {', '.join(skipped.values())}" if skipped else "",
        )
        if self.table.doubts:
            logger.warning("%s: %s", self.json_file, self.table.doubts)


@run_constant
def class_names(json_file: str | os.PathLike[str]) -> list[str]:
    """Class names of a COCO json in the order of the contiguous class index."""
    return list(load_table(json_file).categories.names)


@run_constant
def count_classes(json_file: str | os.PathLike[str]) -> int:
    """Number of classes of a COCO json: ``num_classes`` of a detector trained on it."""
    return len(load_table(json_file).categories)


@run_constant
def class_image_counts(json_file: str | os.PathLike[str]) -> list[int]:
    """Images with each class, in the order of the contiguous class index: weights of a federated loss.

    The json's own ``image_count`` (LVIS), which tells of the training images in every part's json; counted where there
    is none.
    """
    table = load_table(json_file)
    if len(table.arrays["image_counts"]):
        return [int(count) for count in table.arrays["image_counts"]]
    single = ~table.arrays["crowd"]
    image, classes = table.images_of_objects()[single], table.arrays["classes"][single].astype(np.int64)
    return images_per_class(image, classes, len(table.categories)).tolist()


@run_constant
def has_masks(json_file: str | os.PathLike[str]) -> bool:
    """Whether any object of a COCO json has a mask: ``with_masks`` of a detector trained on it."""
    return bool(load_table(json_file).has_masks().any())
