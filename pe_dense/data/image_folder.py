"""Plain images, without annotations, for prediction."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from pe_dense.data.image_io import decode_image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".gif"})


class ImageFolder:
    """Image files, numbered in order.

    Args:
        images: a folder (its image files, by name, not those of folders within), an image file, a glob pattern
            (``"photos/**/*.jpg"``), or a list of any of these.

    Attributes:
        files: the image files.

    Raises:
        FileNotFoundError: if an entry matches nothing, naming it.
    """

    def __init__(self, images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> None:
        entries = [images] if isinstance(images, (str, os.PathLike)) else list(images)
        self.files = [file for entry in entries for file in _expand(Path(entry).expanduser())]
        if not self.files:
            raise FileNotFoundError("the list of images is empty; give image files, a folder or a pattern")

    def __len__(self) -> int:
        return len(self.files)

    def file_name(self, index: int) -> str:
        """Path of item ``index``."""
        return str(self.files[index])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id`` (its number) and ``file_name``.

        Raises:
            FileNotFoundError, DataError: if the image cannot be read.
        """
        image = decode_image(self.files[index])
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "height": image.shape[0],
            "width": image.shape[1],
            "image_id": index,
            "file_name": str(self.files[index]),
        }


def _expand(entry: Path) -> list[Path]:
    if entry.is_dir():
        files = sorted(f for f in entry.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
        if not files:
            raise FileNotFoundError(f"folder {entry} holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return files
    if entry.is_file():
        return [entry]
    matches = sorted(Path(m) for m in glob.glob(str(entry), recursive=True) if Path(m).is_file())
    if not matches:
        raise FileNotFoundError(f"no image file, folder or pattern match: {entry}; check the path")
    return matches
