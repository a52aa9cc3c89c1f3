"""Saved masks of objects in videos: ``folder/<sequence>/<frame>.png``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pe_dense.data.indexed_png import read_foreground_png, read_indexed_png


class VideoResults:
    """Results in the layout that DAVIS and YouTube-VOS take as a submission.

    Args:
        folder: with a folder of indexed PNGs for each sequence.
        foreground: the masks tell foreground from background: 0 and 255, or an indexed PNG of which all objects count.

    Attributes:
        sequences: names of the folders, sorted.

    Raises:
        FileNotFoundError: if there is no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str], foreground: bool = False) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise FileNotFoundError(f"results folder {self.folder} does not exist; check the path")
        self.foreground = foreground
        self.sequences = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir())

    def frames(self, sequence: str) -> frozenset[str]:
        """Names of the frames that a sequence has results for; none if there is no such sequence."""
        folder = self.folder / sequence
        return frozenset(file.stem for file in folder.glob("*.png")) if folder.is_dir() else frozenset()

    def file(self, sequence: str, frame: str) -> str:
        """Path of a result, for messages."""
        return str(self.folder / sequence / f"{frame}.png")

    def read_labels(self, sequence: str, frame: str) -> np.ndarray:
        """H x W uint8: 0 background, else the object.

        Raises:
            FileNotFoundError, DataError: if there is no such mask, or it is none.
        """
        path = self.file(sequence, frame)
        return read_foreground_png(path) if self.foreground else read_indexed_png(path)
