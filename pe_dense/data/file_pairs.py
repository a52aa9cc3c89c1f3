"""Images that each have one file of labels: finding the pairs, and what all such data sets do."""

from __future__ import annotations

import copy
import csv
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from pe_dense.data.errors import DataError
from pe_dense.data.image_folder import IMAGE_SUFFIXES
from pe_dense.data.image_io import decode_image
from pe_dense.data.label_files import LABEL_SUFFIXES
from pe_dense.structures.wording import counted, few

logger = logging.getLogger(__name__)

_SHOWN = 5  # names in a warning
_MISSING_SHOWN = 100  # names in an error, so that what a list lacks is known at once
Self = TypeVar("Self", bound="PairedImages")


class Pair(NamedTuple):
    """Two files that belong together.

    Attributes:
        image: path of the image.
        labels: path of its depth map or mask.
        scale: stored units per metre of this depth map, if it has its own.
        focal_length: of the camera in pixels, if known.
        principal_point: (x, y) of the camera in pixels, if known; the centre of the top left pixel is (0, 0).
    """

    image: str
    labels: str
    scale: float | None = None
    focal_length: float | None = None
    principal_point: tuple[float, float] | None = None


class PairedImages:
    """Images with a file of labels each; what kind of labels is a subclass's matter.

    Args:
        pairs: the files, in order; the image id is the position.
        source: where they are listed, for messages.

    Raises:
        FileNotFoundError: if files do not exist, naming all of them up to a hundred.
        DataError: if there is no pair.
    """

    def __init__(self, pairs: Sequence[Pair], source: str | os.PathLike[str]) -> None:
        self.pairs = list(pairs)
        if not self.pairs:
            raise DataError(f"{source} names no image with labels; check the path")
        _require_files(self.pairs, source)

    def __len__(self) -> int:
        return len(self.pairs)

    def file_name(self, index: int) -> str:
        """Path of image ``index``."""
        return self.pairs[index].image

    def select(self: Self, indices: Iterable[int]) -> Self:
        """A data set of these items only, numbered anew."""
        part = copy.copy(self)
        part.pairs = [self.pairs[i] for i in indices]
        return part

    def unlabelled(self, index: int) -> dict[str, Any]:
        """``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id`` (= ``index``) and ``file_name``.

        Raises:
            FileNotFoundError, DataError: if the image cannot be read.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of a data set of {counted(len(self), 'image')}")
        pair = self.pairs[index]
        image = self._window(decode_image(pair.image), pair.image)
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "height": image.shape[0],
            "width": image.shape[1],
            "image_id": index % len(self),
            "file_name": pair.image,
        }

    def _window(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """The part of images and labels (H x W ...) that belongs to the data set: all of it."""
        return pixels


def check_same_size(item: dict[str, Any], labels: np.ndarray, name: str) -> None:
    """Raise ``DataError`` unless labels (H x W) and image of an item have one size."""
    if labels.shape != (item["height"], item["width"]):
        raise DataError(
            f"{name} is {labels.shape[1]} pixels wide and {labels.shape[0]} high but its image {item['file_name']} is "
            f"{item['width']} wide and {item['height']} high (after EXIF rotation, if any); register both to the same "
            "pixels, or correct the pairing"
        )


def pair_folders(
    image_root: str | os.PathLike[str],
    label_root: str | os.PathLike[str],
    image_suffix: str = "",
    label_suffix: str = "",
) -> list[Pair]:
    """Pair the files of two folders by their path below it; those within subfolders too.

    Files without a partner are left out, with a count in the log.

    Args:
        image_root, label_root: the folders; may be the same one if the suffixes differ.
        image_suffix, label_suffix: what a name has before its extension and its partner's has not, e.g. ``_rgb``.

    Raises:
        FileNotFoundError: if a folder does not exist.
        DataError: if no files match, or several match one image.
    """
    images = _by_key(image_root, image_suffix, IMAGE_SUFFIXES)
    labels = _by_key(label_root, label_suffix, LABEL_SUFFIXES)
    keys = sorted(images.keys() & labels.keys())
    if not keys:
        example = f", e.g. {next(iter(images.values()))} and {next(iter(labels.values()))}" if images and labels else ""
        raise DataError(
            f"no image of {image_root} ({counted(len(images), 'file')}) has labels of the same name in {label_root} "
            f"({counted(len(labels), 'file')}){example}; name both alike, or give what differs before the extension "
            "as suffix"
        )
    for what, lonely in (("image without labels", images), ("label file without image", labels)):
        alone = sorted(lonely[key] for key in lonely.keys() - set(keys))
        if alone:
            logger.warning(
                "%s and %s: left out %s: %s", image_root, label_root, counted(len(alone), what), few(alone, _SHOWN)
            )
    return [Pair(images[key], labels[key]) for key in keys]


def read_pairs(list_file: str | os.PathLike[str]) -> list[Pair]:
    """Pairs as a list file names them.

    A ``.csv`` has a header with the columns ``image`` and ``depth`` and perhaps ``scale``, ``focal_length``, ``cx`` and
    ``cy`` (the principal point); any other file has lines ``image depth [focal_length]``, as NYUv2's and KITTI's
    official lists. Lines whose depth is ``None`` (images without ground truth) are left out, with a count in the log.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a line cannot be understood, naming it.
    """
    path = Path(list_file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"list {path} does not exist; check the path, or copy the list there")
    rows = list(_csv_rows(path) if path.suffix.lower() == ".csv" else _text_rows(path))
    pairs = [row for row in rows if row.labels != "None"]
    if len(pairs) < len(rows):
        logger.info("%s: left out %s without depth (None)", path, counted(len(rows) - len(pairs), "line"))
    return pairs


def _csv_rows(path: Path) -> Iterator[Pair]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"image", "depth"} <= set(reader.fieldnames or ()):
            raise DataError(f"{path} has the columns {reader.fieldnames}; its first line must name image and depth")
        for row in reader:
            if not row["image"] or not row["depth"]:
                raise DataError(f"{path}, line {reader.line_num}: image or depth is empty; complete or remove the line")
            numbers = (_number(row.get(key), path, reader.line_num) for key in ("scale", "focal_length", "cx", "cy"))
            scale, focal, cx, cy = numbers
            yield Pair(row["image"], row["depth"], scale, focal, None if cx is None or cy is None else (cx, cy))


def _text_rows(path: Path) -> Iterator[Pair]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        fields = line.split()
        if len(fields) in (2, 3):
            yield Pair(fields[0], fields[1], None, _number(fields[2] if fields[2:] else None, path, number))
        elif fields:
            raise DataError(
                f"{path}, line {number} has {counted(len(fields), 'column')}, not image, depth and perhaps focal "
                "length; names with spaces need a .csv"
            )


def _number(text: str | None, path: Path, line: int) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise DataError(f"{path}, line {line}: {text!r} is not a positive number; correct or remove it")
    return value


def _by_key(root: str | os.PathLike[str], suffix: str, extensions: Collection[str]) -> dict[str, str]:
    """Path below ``root`` without suffix and extension -> whole path."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist; check the path")
    found: dict[str, str] = {}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            stem, extension = os.path.splitext(name)
            if extension.lower() not in extensions or not stem.endswith(suffix):
                continue
            path = os.path.join(place, name)
            key = os.path.relpath(os.path.join(place, stem.removesuffix(suffix)), folder)
            if key in found:
                raise DataError(f"{found[key]} and {path} differ only in their extension; remove one of them")
            found[key] = path
    return found


def _require_files(pairs: Sequence[Pair], source: str | os.PathLike[str]) -> None:
    listings: dict[str, frozenset[str]] = {}  # one look at each folder: a network disk answers slowly

    def exists(path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = frozenset(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else frozenset()
        return name in listings[folder]

    missing = [path for pair in pairs for path in pair[:2] if not exists(path)]
    if missing:
        raise FileNotFoundError(
            f"{source}: {len(missing)} of {2 * len(pairs)} files do not exist: {few(missing, _MISSING_SHOWN)}; "
            "check the folders, complete the data or take these lines off the list"
        )
