"""Public semantic segmentation data sets in the folders they come in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pe_dense.data.errors import DataError
from pe_dense.data.file_pairs import Pair, pair_folders
from pe_dense.data.public_classes import ADE20K_CLASSES, CAMVID_CLASSES, CITYSCAPES_CLASSES, VOC_CLASSES
from pe_dense.data.sem_seg import ClassList, SemSegFolder


class ADE20K(SemSegFolder):
    """The scene parsing benchmark of ADE20K: 150 classes, 20,210 images to train and 2,000 to validate.

    Zhou et al. 2017. The masks' 0 (no class) is ignored and their 1..150 become 0..149.

    Args:
        root: ``ADEChallengeData2016`` with ``images`` and ``annotations``.
        split: ``train`` or ``val``.

    Raises:
        ValueError, FileNotFoundError, DataError: naming the argument or file at fault.
    """

    def __init__(self, root: str | os.PathLike[str], split: str = "train") -> None:
        folder = {"train": "training", "val": "validation"}[_checked("ADE20K", split, ("train", "val"))]
        place = Path(root).expanduser()
        pairs = pair_folders(place / "images" / folder, place / "annotations" / folder)
        values = list(range(1, len(ADE20K_CLASSES) + 1))
        self._prepare(pairs, place, ClassList(list(ADE20K_CLASSES), values, [0], {}))


class VOC2012(SemSegFolder):
    """PASCAL VOC 2012: 20 classes and background, 1,464 images to train and 1,449 to validate; borders are ignored.

    Args:
        root: ``VOCdevkit/VOC2012`` with ``JPEGImages``, ``ImageSets/Segmentation`` and the masks.
        split: ``train``, ``val``, ``trainval``, or the name of another list in ``ImageSets/Segmentation``, such as the
            extra training list ``train_aug``. Its lines are image names, or pairs ``/JPEGImages/a.jpg /Masks/a.png``.
        label_folder: folder of the masks for lists of image names; the extra list's is ``SegmentationClassAug``.

    Raises:
        FileNotFoundError, DataError: naming the file or line at fault.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str = "train", label_folder: str = "SegmentationClass"
    ) -> None:
        place = Path(root).expanduser()
        listing = place / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not listing.is_file():
            raise FileNotFoundError(f"list {listing} does not exist; check root and split, or copy the list there")
        pairs = list(_voc_pairs(listing, place, label_folder))
        self._prepare(pairs, listing, ClassList(list(VOC_CLASSES), list(range(len(VOC_CLASSES))), [], {}))


class Cityscapes(SemSegFolder):
    """Cityscapes' fine annotations: 19 classes, 2,975 images to train and 500 to validate.

    Cordts et al. 2016. Read from the ``labelIds`` masks, which every copy has; classes that are not evaluated are
    ignored.

    Args:
        root: folder with ``leftImg8bit`` and ``gtFine``.
        split: ``train`` or ``val``.

    Raises:
        ValueError, FileNotFoundError, DataError: naming the argument or file at fault.
    """

    def __init__(self, root: str | os.PathLike[str], split: str = "train") -> None:
        place = Path(root).expanduser()
        split = _checked("Cityscapes", split, ("train", "val"))
        pairs = pair_folders(
            place / "leftImg8bit" / split, place / "gtFine" / split, "_leftImg8bit", "_gtFine_labelIds"
        )
        values = list(CITYSCAPES_CLASSES.values())
        others = sorted({*range(34)} - {*values})
        self._prepare(pairs, place, ClassList(list(CITYSCAPES_CLASSES), values, others, {}))


class CamVid(SemSegFolder):
    """CamVid in SegNet's version: 11 classes, 360 x 480, 367 images to train, 101 to validate and 233 to test.

    Args:
        root: folder with ``train``, ``trainannot``, ``val``, ``valannot`` ...
        split: ``train``, ``val`` or ``test``.

    Raises:
        ValueError, FileNotFoundError, DataError: naming the argument or file at fault.
    """

    def __init__(self, root: str | os.PathLike[str], split: str = "train") -> None:
        place = Path(root).expanduser()
        split = _checked("CamVid", split, ("train", "val", "test"))
        pairs = pair_folders(place / split, place / f"{split}annot")
        count = len(CAMVID_CLASSES)
        self._prepare(pairs, place, ClassList(list(CAMVID_CLASSES), list(range(count)), [count], {}))


def _checked(name: str, split: str, splits: tuple[str, ...]) -> str:
    if split not in splits:
        raise ValueError(f'{name}: split is "{split}"; choose one of {", ".join(splits)}')
    return split


def _voc_pairs(listing: Path, root: Path, label_folder: str) -> Iterator[Pair]:
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
        fields = [field.lstrip("/") for field in line.split()]
        if len(fields) == 1:
            fields = [f"JPEGImages/{fields[0]}.jpg", f"{label_folder}/{fields[0]}.png"]
        if len(fields) == 2:
            yield Pair(str(root / fields[0]), str(root / fields[1]))
        elif fields:
            raise DataError(f"{listing}, line {number} is neither an image name nor an image and its mask: {line!r}")
