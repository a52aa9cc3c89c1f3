"""The frames of one video, from a video file, a folder of images or a sequence of a tracking benchmark."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pe_dense.data import DataError
from pe_dense.data.mot import read_seqinfo
from pe_dense.prediction.video_io import OnError, VideoReader
from pe_dense.prediction.video_sources import check_stems, image_files

_FPS = 30.0  # of folders that do not tell


class FootageFrame(NamedTuple):
    """One frame.

    Attributes:
        number: from 0.
        time: seconds after the first frame at which it is shown.
        image: H x W x 3 uint8 RGB; None where a sequence has none.
        name: of the image without its ending; of a video file or without images the number, from 1, in six digits.
    """

    number: int
    time: float
    image: np.ndarray | None
    name: str


@dataclass(frozen=True)
class Footage:
    """Frames of a video.

    Attributes:
        name: of the video, for names of files.
        fps: frames per second, on average.
        count: frames, None if not known.
        path: the video file, or the folder with the images; None for a sequence without images.
        files: the images; empty for a video file, and for a sequence without images.
        numbers: of the images, from 0: their places in the folder, but a sequence's images are called by their numbers.
        size: (height, width) of the frames of a sequence without images, (0, 0) if not known.
        on_error: what a frame that cannot be decoded does: "skip" warns and goes on, "stop" raises.
    """

    name: str
    fps: float
    count: int | None
    path: Path | None = None
    files: tuple[Path, ...] = ()
    numbers: tuple[int, ...] = ()
    size: tuple[int, int] = (0, 0)
    on_error: OnError = "skip"

    @classmethod
    def of(cls, source: str | os.PathLike[str], fps: float | None = None, on_error: OnError = "skip") -> Footage:
        """Find the frames.

        Args:
            source: a video file; a folder of images, in natural order (``2.png`` before ``10.png``); a sequence in
                MOTChallenge's layout (a folder with ``seqinfo.ini``), whose images may be missing, some or all. If all
                names are numbers they are those of the frames, counted from 1.
            fps: frames per second, for folders; None takes those of ``seqinfo.ini``, or 30.
            on_error: see above.

        Raises:
            FileNotFoundError: if there is nothing.
            ValueError: if ``fps`` is not positive.
            DataError: if a video cannot be decoded, a ``seqinfo.ini`` is wrong, or a folder holds no images, or several
                of one frame.
        """
        if fps is not None and not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps must be above 0, it is {fps}")
        path = Path(source).expanduser()
        if not path.is_dir():
            with VideoReader(path) as reader:
                return cls(path.stem, reader.fps, reader.expected_frames, path, size=reader.size, on_error=on_error)
        if (path / "seqinfo.ini").is_file():
            return cls._of_sequence(path, fps, on_error)
        files = tuple(image_files(path))
        if not files:
            raise DataError(f"folder {path} holds no images and no seqinfo.ini; give a video or a folder of frames")
        check_stems(path, files)
        numbers = tuple(range(len(files)))
        return cls(path.resolve().name, fps or _FPS, len(files), path, files, numbers, on_error=on_error)

    @classmethod
    def _of_sequence(cls, path: Path, fps: float | None, on_error: OnError) -> Footage:
        info = read_seqinfo(path / "seqinfo.ini")
        folder, size = path / info.image_dir, (info.height, info.width)
        files = tuple(image_files(folder)) if folder.is_dir() else ()
        rate = fps or info.frame_rate
        if not files:
            return cls(info.name, rate, info.length, size=size)
        check_stems(folder, files)
        return cls(info.name, rate, len(files), folder, files, _numbers(folder, files), size, on_error)

    def __iter__(self) -> Iterator[FootageFrame]:
        """The frames, read again each time.

        Raises:
            DataError: as ``on_error`` says.
        """
        if self.path is None:
            for number in range(self.count or 0):
                yield FootageFrame(number, number / self.fps, None, f"{number + 1:06d}")
            return
        with VideoReader(self.path, on_error=self.on_error, fps=self.fps) as reader:
            for index, time, image in reader.frames():
                if self.files:
                    number = self.numbers[index]
                    yield FootageFrame(number, number / self.fps, image, self.files[index].stem)
                else:
                    yield FootageFrame(index, time, image, f"{index + 1:06d}")

    @property
    def has_images(self) -> bool:
        """Whether there is something to look at."""
        return self.path is not None

    @property
    def image_numbers(self) -> dict[str, int] | str | None:
        """How files of detections call the frames, see :class:`FileDetections`: numbers by name of the image, or the
        name of the video file; None for a sequence without images."""
        if self.files:
            return {file.name: number for file, number in zip(self.files, self.numbers)}
        return None if self.path is None else self.path.name


def _numbers(folder: Path, files: tuple[Path, ...]) -> tuple[int, ...]:
    """Of a sequence's images, from 0."""
    if not all(file.stem.isdecimal() for file in files):
        return tuple(range(len(files)))
    numbers = tuple(int(file.stem) - 1 for file in files)
    if numbers[0] < 0 or len(set(numbers)) < len(numbers):
        raise DataError(f"images in {folder} must be called by the frames' numbers, 000001.jpg first, each once")
    return numbers
