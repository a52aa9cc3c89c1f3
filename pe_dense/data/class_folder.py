"""A folder of images per class, ImageNet's layout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pe_dense.config import run_constant
from pe_dense.data.errors import DataError
from pe_dense.data.image_folder import IMAGE_SUFFIXES
from pe_dense.data.image_io import read_image


class ClassFolder:
    """``root/<class>/**/<image>``: classes are the folders, in the order of their names.

    Args:
        root: with a folder for each class.
        classes_of: another such folder whose classes count, in its order: that of the training images, where ``root``
            holds those of the test.

    Attributes:
        classes: names by class index.

    Raises:
        FileNotFoundError: if ``root`` does not exist or has no folder in it.
        DataError: if folders hold no image (all are listed), or are no classes of ``classes_of``.
    """

    labels = ("label",)

    def __init__(self, root: str | os.PathLike[str], classes_of: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root).expanduser()
        own = _folders(self.root)
        self.classes = own if classes_of is None else _folders(Path(classes_of).expanduser())
        unknown = [name for name in own if name not in self.classes]
        if unknown:
            raise DataError(
                f"{self.root} has folders that are no classes of {classes_of}: {', '.join(unknown[:8])}; "
                "give the folder that the classes come from as classes_of, or move them away"
            )
        found = {name: _images(self.root / name) for name in own}
        empty = [name for name, files in found.items() if not files]
        if empty:
            raise DataError(
                f"{self.root}: {len(empty)} of {len(own)} classes have no image ({', '.join(empty[:8])}): add images "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}), or remove their folders"
            )
        index = {name: i for i, name in enumerate(self.classes)}
        self._items = [(file, index[name]) for name, files in found.items() for file in files]

    def __len__(self) -> int:
        return len(self._items)

    def file_name(self, index: int) -> str:
        """Path of image ``index``."""
        return str(self._items[index][0])

    def label(self, index: int) -> int:
        """Class index of image ``index``."""
        return self._items[index][1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``image`` (3 x H x W uint8 RGB), ``label``, ``height``, ``width``, ``image_id`` (its number), ``file_name``.

        Raises:
            FileNotFoundError, DataError: if the image cannot be read.
        """
        path, label = self._items[index]
        image = read_image(path)
        return {
            "image": image,
            "label": label,
            "height": int(image.shape[1]),
            "width": int(image.shape[2]),
            "image_id": index,
            "file_name": str(path),
        }


@run_constant
def count_folder_classes(root: str | os.PathLike[str]) -> int:
    """How many classes :class:`ClassFolder` finds in a folder."""
    return len(ClassFolder(root).classes)


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise FileNotFoundError(f"folder {root} does not exist; give one with a folder of images for each class")
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise FileNotFoundError(f"{root} has no folder in it; it must have one of images for each class")
    return names


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
