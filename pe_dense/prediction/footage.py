"""The frames of one video, from a video file, a folder of images or a sequence of a tracking benchmark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pe_dense.data import DataError
from pe_dense.data.image_folder import IMAGE_SUFFIXES
from pe_dense.data.image_io import decode_image
from pe_dense.data.mot import read_seqinfo
from pe_dense.prediction.video_io import VideoReader

_FPS = 30.0  # of folders that do not tell


@dataclass(frozen=True)
class Footage:
    """Frames that can be read once.

    Attributes:
        name: of the video, for names of files.
        fps: frames per second.
        count: frames, None if not known.
        names: "000001.jpg" or "clip.mp4#0" of each frame; None where not known.
        path: the video file, None for images.
        files: the images; empty for a video file, and for a sequence without images.
        size: (height, width) of the frames of a sequence without images, (0, 0) if not known.
    """

    name: str
    fps: float
    count: int | None
    names: list[str] | None
    path: Path | None = None
    files: tuple[Path, ...] = ()
    size: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, source: str | os.PathLike[str], fps: float | None = None) -> Footage:
        """Find the frames.

        Args:
            source: a video file; a folder of images, which are taken by name; a sequence in MOTChallenge's layout
                (a folder with ``seqinfo.ini``), whose images may be missing.
            fps: frames per second, for folders; None takes those of ``seqinfo.ini``, or 30.

        Raises:
            FileNotFoundError: if there is nothing.
            DataError: if a video cannot be decoded, a ``seqinfo.ini`` is wrong, or a folder holds no images.
        """
        path = Path(source).expanduser()
        if not path.is_dir():
            with VideoReader(path) as reader:
                return cls(path.stem, reader.fps, reader.expected_frames, None, path, size=reader.size)
        name = path.resolve().name
        if not (path / "seqinfo.ini").is_file():
            files = _images(path)
            if not files:
                raise DataError(f"folder {path} holds no images and no seqinfo.ini; give a video or a folder of frames")
            return cls(name, fps or _FPS, len(files), [f.name for f in files], files=files)
        info = read_seqinfo(path / "seqinfo.ini")
        files = _images(path / info.image_dir)
        names = [f.name for f in files] or None
        size = (info.height, info.width)
        return cls(info.name, fps or info.frame_rate, len(files) or info.length, names, files=files, size=size)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray | None]]:
        """(number from 0, H x W x 3 uint8 RGB); the image is None where a sequence has none.

        Raises:
            DataError: if an image cannot be decoded.
        """
        if self.path is not None:
            with VideoReader(self.path) as reader:
                yield from reader
        elif self.files:
            for number, file in enumerate(self.files):
                yield number, decode_image(file)
        else:
            for number in range(self.count or 0):
                yield number, None

    @property
    def has_images(self) -> bool:
        """Whether there is something to look at."""
        return self.path is not None or bool(self.files)


def _images(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != "."))
