"""Data sets of images with a class per pixel."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pe_dense.config import run_constant
from pe_dense.data.errors import DataError
from pe_dense.data.file_pairs import Pair, PairedImages, check_same_size, pair_folders
from pe_dense.data.label_files import IGNORE, decode_labels
from pe_dense.structures import Categories

logger = logging.getLogger(__name__)

_INVALID = 254  # in look-up tables; hence at most 254 classes


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set and how its masks store them.

    Attributes:
        names: by class index.
        values: value in the masks, by class index.
        ignored: values in the masks that stand for no class; 255 always does, unless it is a class.
        colors: (R, G, B) -> class index, of masks that are coloured pictures; 255 for no class.
    """

    names: list[str]
    values: list[int]
    ignored: list[int]
    colors: dict[tuple[int, int, int], int]

    def table(self) -> np.ndarray:
        """Value in a mask -> class index, 255 for no class, 254 for a value that is not in the list: 256 uint8."""
        table = np.full(256, _INVALID, dtype=np.uint8)
        table[[IGNORE, *self.ignored]] = IGNORE
        table[self.values] = np.arange(len(self.values))
        return table


def read_class_list(classes: str | os.PathLike[str] | Sequence[str], ignored: Sequence[int] = ()) -> ClassList:
    """The classes from a list of names or a file.

    Args:
        classes: names in order, so that the masks' values are 0, 1, ...; or a ``.txt`` file with one per line; or a
            ``.json`` with a list of names or of objects ``{"name": "road", "id": 7, "color": [128, 64, 128]}``, in
            which ``id`` (value in the masks) and ``color`` (in coloured masks) are optional and ``"ignore": true`` says
            that the value or colour stands for no class.
        ignored: further values that stand for no class.

    Raises:
        FileNotFoundError: if the file does not exist.
        DataError: if there is no class or there are more than 254, if names or values repeat or a value is not one of
            an 8-bit mask.
    """
    rows, source = _class_rows(classes)
    used = [row for row in rows if not row.get("ignore")]
    names = [str(row.get("name")) for row in used]
    values = [int(row.get("id", index)) for index, row in enumerate(used)]
    unused = [int(row["id"]) for row in rows if row.get("ignore") and "id" in row] + [int(v) for v in ignored]
    if not 1 <= len(names) <= _INVALID:
        raise DataError(f"{source} has {len(names)} classes; give 1 to {_INVALID}")
    for what, entries in (("name", names), ("value", values + unused)):
        repeated = [str(e) for e, count in Counter[Any](entries).items() if count > 1]
        if repeated:
            raise DataError(f"{source} has the {what} {', '.join(repeated)} more than once; give each class its own")
    outside = [v for v in values + unused if not 0 <= v <= 255]
    if outside:
        raise DataError(f"{source} has the values {outside}, which an 8-bit mask cannot hold; use values from 0 to 255")
    colors = {_color(row["color"], source): IGNORE if row.get("ignore") else used.index(row)
              for row in rows if "color" in row}  # fmt: skip
    return ClassList(names, values, unused, colors)


@run_constant
def count_sem_seg_classes(classes: str | os.PathLike[str] | Sequence[str]) -> int:
    """Number of classes of a list, see :func:`read_class_list`: ``num_classes`` of a model trained on it."""
    return len(read_class_list(classes).names)


class SemSegFolder(PairedImages):
    """A folder of images and a folder of masks of the same names.

    Masks are greyscale, palette or 1-bit images (or npy) with one value per pixel, or, if the class list has colours,
    coloured pictures.

    Args:
        image_root, label_root: the folders; files are paired by name, those of subfolders too.
        classes: names, or a ``.txt`` or ``.json`` file; see :func:`read_class_list`.
        ignored: values in the masks that stand for no class, besides 255.
        image_suffix, label_suffix: what names have before the extension, e.g. ``_leftImg8bit``.

    Attributes:
        classes: names by class index.
        categories: the same; ids are class indices.

    Raises:
        FileNotFoundError, DataError: naming the file at fault.
    """

    labels = ("sem_seg",)

    def __init__(
        self,
        image_root: str | os.PathLike[str],
        label_root: str | os.PathLike[str],
        classes: str | os.PathLike[str] | Sequence[str],
        ignored: Sequence[int] = (),
        image_suffix: str = "",
        label_suffix: str = "",
    ) -> None:
        pairs = pair_folders(image_root, label_root, image_suffix, label_suffix)
        self._prepare(pairs, image_root, read_class_list(classes, ignored))

    def _prepare(self, pairs: Sequence[Pair], source: str | os.PathLike[str], classes: ClassList) -> None:
        PairedImages.__init__(self, pairs, source)
        self.classes = classes.names
        self.categories = Categories(tuple(range(len(classes.names))), tuple(classes.names))
        self._class_list = classes
        self._table = classes.table()
        self._said = False

    def read_sem_seg(self, index: int) -> np.ndarray:
        """Labels of item (and image id) ``index``, without reading its image: H x W uint8 class index, 255 = ignore.

        Raises:
            FileNotFoundError, DataError: if the mask cannot be read, or has a value that is not in the class list.
        """
        path = self.pairs[index].labels
        labels = decode_labels(path)
        if labels.ndim == 3:
            return self._window(self._from_colors(labels, path), path)
        counts = np.bincount(labels.ravel(), minlength=256)
        unknown = [int(v) for v in np.flatnonzero(counts) if v > 255 or self._table[v] == _INVALID]
        if unknown:
            raise DataError(
                f"mask {path} has the values {_some(unknown)} ({counts[unknown].sum():,} pixels), which are not in the "
                f"list of {len(self.classes)} classes; add them there, or to the ignored values"
            )
        if not self._said and len(self.classes) == 2 and set(np.flatnonzero(counts)) == {0, IGNORE}:
            self._said = True
            logger.warning(
                "mask %s has only the values 0 and 255, and 255 is ignored; if it is a class, make that its id in a "
                ".json class list",
                path,
            )
        return self._window(cv2.LUT(labels.astype(np.uint8), self._table), path)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item ``index``: the image and its labels.

        Returns:
            ``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id``, ``file_name`` and ``sem_seg`` (H x W
            uint8 class index, 255 = ignore).

        Raises:
            FileNotFoundError, DataError: if a file cannot be read, or the two differ in size.
        """
        item = self.unlabelled(index)
        item["sem_seg"] = self.read_sem_seg(index)
        check_same_size(item, item["sem_seg"], f"mask {self.pairs[index].labels}")
        return item

    def _from_colors(self, picture: np.ndarray, path: str) -> np.ndarray:
        if not self._class_list.colors:
            raise DataError(
                f"mask {path} is a coloured picture; store one class index per pixel (greyscale or palette PNG), or "
                'give each class its "color" in a .json class list'
            )
        codes = _codes(picture)
        known = np.array([_code(color) for color in self._class_list.colors])
        order = np.argsort(known)
        place = order[np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)]
        wrong = known[place] != codes
        if wrong.any():
            colors = np.unique(picture[wrong], axis=0).tolist()
            raise DataError(
                f"mask {path} has the colours {_some(colors)} ({int(wrong.sum()):,} pixels), which are not in the "
                'class list; add them there ("ignore": true for no class), and store masks without loss (PNG)'
            )
        return np.array(list(self._class_list.colors.values()), dtype=np.uint8)[place]


def _class_rows(classes: str | os.PathLike[str] | Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """Each class as an object of the json format, and what to call the list."""
    if not isinstance(classes, (str, os.PathLike)):
        return [{"name": name} for name in classes], "the class list"
    path = Path(classes).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"class list {path} does not exist; give the names or a .txt or .json file")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() != ".json":
        return [{"name": line.strip()} for line in text.splitlines() if line.strip()], f"class list {path}"
    try:
        rows = [row if isinstance(row, dict) else {"name": row} for row in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise DataError(f"class list {path} is not a json list ({error}); see docs/own_data.md") from None
    return rows, f"class list {path}"


def _color(value: Any, source: str) -> tuple[int, int, int]:
    try:
        red, green, blue = (int(v) for v in value)
    except (TypeError, ValueError):
        raise DataError(f"{source} has the color {value!r}; give three numbers, e.g. [128, 64, 128]") from None
    return red, green, blue


def _code(color: tuple[int, int, int]) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _codes(picture: np.ndarray) -> np.ndarray:
    wide = picture.astype(np.int32)
    codes: np.ndarray = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes


def _some(values: Sequence[Any]) -> str:
    return ", ".join(str(v) for v in values[:5]) + (", ..." if len(values) > 5 else "")
