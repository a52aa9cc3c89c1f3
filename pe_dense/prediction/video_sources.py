"""Where the frames of a video come from: a file or stream, decoded by PyAV (FFmpeg's libraries), or a folder of images.

PyAV and not OpenCV: OpenCV's writer knows no times, so that a variable frame rate is lost, its wheels have no encoder
for H.264, and its reader does not tell a damaged frame from the end of the file. PyAV's wheels bring x264, x265 and
libvpx (so FFmpeg as a whole is under the GPL there; PyAV itself is BSD). It is imported when a video is opened: images
are predicted without it.
"""

from __future__ import annotations

import heapq
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pe_dense.data import DataError
from pe_dense.data.image_folder import IMAGE_SUFFIXES
from pe_dense.data.image_io import decode_image

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0
_STREAM_TIMEOUT = 30.0  # seconds
# a packet of these holds one whole picture, so that a packet without a picture is a lost frame
_WHOLE_FRAMES = ("mov", "matroska")
_WITH_INVISIBLE_FRAMES = "vp8"
_DIGITS = re.compile(r"(\d+)")
# FFmpeg's SWS_BILINEAR, SWS_ACCURATE_RND, SWS_FULL_CHR_H_INT: without these, colours are up to 3 levels too dark
_EXACT = 0x2 | 0x40000 | 0x2000

Item = tuple[float, Callable[[], np.ndarray] | None]
"""A frame: its time in seconds, and what makes the H x W x 3 RGB picture, ``None`` if it could not be decoded."""


class VideoSource(Protocol):
    """Frames in the order in which they are shown, once; lost ones included.

    Attributes:
        fps: frames per second, on average.
        duration: seconds that it says it lasts, ``None`` if it does not.
        count: how many frames it says that there are, else ``duration`` times ``fps``.
    """

    fps: float
    duration: float | None
    count: int | None

    def __iter__(self) -> Iterator[Item]: ...

    def close(self) -> None:
        """Release the file."""


def load_av() -> ModuleType:
    """PyAV.

    Raises:
        ModuleNotFoundError: with the remedy, if it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("videos need PyAV; install it: pip install av") from error
    return av


class FileSource:
    """A video file, or a stream's URL.

    Raises:
        DataError: if it cannot be opened, or holds no video.
    """

    def __init__(self, name: str) -> None:
        self._av = load_av()
        self._name = name
        timeout = _STREAM_TIMEOUT if "://" in name else None
        try:
            self._container: av.container.InputContainer = self._av.open(
                name, metadata_errors="replace", timeout=timeout
            )
        except self._av.FFmpegError as error:
            raise DataError(
                f"video {name} cannot be opened: damaged, or not a video ({error.strerror}); copy or convert it again"
            ) from error
        stream = self._container.streams.best("video")
        if stream is None:
            self.close()
            raise DataError(
                f"video {name} cannot be opened: it holds no picture, only sound, or a part of it is missing"
            )
        self._stream: av.VideoStream = stream
        self._whole_frames = self._container.format.name.startswith(_WHOLE_FRAMES)
        self._whole_frames &= stream.codec_context.name != _WITH_INVISIBLE_FRAMES
        self.fps = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
        self.duration = self._find_duration()
        self.count: int | None = stream.frames or (round(self.duration * self.fps) if self.duration else None)

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Item]:
        due: list[int] = []  # heap: times of packets that must become pictures, or failed to
        first: int | None = None
        last: int | None = None
        time = -1 / self.fps
        unit = float(self._stream.time_base or Fraction(1, 1000))
        for pts, frames, failed in self._decoded():
            if pts is not None and (failed or self._whole_frames):
                heapq.heappush(due, pts)
            for frame in frames:
                if frame.pts is None:
                    time += 1 / self.fps
                    yield time, None if frame.is_corrupt else partial(_to_rgb, frame)
                    continue
                if last is not None and frame.pts <= last:
                    continue  # out of order after a lost key frame; it was counted as lost
                self._whole_frames &= not frame.interlaced_frame  # whose halves may be packets of their own
                last = frame.pts
                first = min([last, *due[:1]]) if first is None else first
                for missing in _taken_until(due, last):
                    yield (missing - first) * unit, None
                time = (last - first) * unit
                yield time, None if frame.is_corrupt else partial(_to_rgb, frame)
        for missing in sorted(due):
            yield (missing - (missing if first is None else first)) * unit, None

    def _decoded(self) -> Iterator[tuple[int | None, list[av.VideoFrame], bool]]:
        """For each packet, and for the end: its time, the frames that came out, whether it failed."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._av.FFmpegError as error:
                logger.warning("video %s cannot be read further (%s); it may be damaged", self._name, error.strerror)
                break
            pts = None if packet.is_discard else packet.dts if packet.pts is None else packet.pts
            try:
                yield pts, packet.decode(), False
            except self._av.FFmpegError:
                yield pts, [], True
        yield None, self._stream.codec_context.decode(None), False

    def _find_duration(self) -> float | None:
        stream, whole = self._stream, self._container.duration
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return whole / self._av.time_base if whole else None


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder by name, numbers in it by value: ``2.png`` before ``10.png``."""
    files = (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    return sorted(files, key=lambda file: natural_order(file.name))


def natural_order(name: str) -> tuple[list[int | str], str]:
    """What to sort names by, so that numbers in them count by value."""
    return [int(part) if part.isdecimal() else part for part in _DIGITS.split(name)], name


def check_stems(folder: Path, files: Sequence[Path]) -> None:
    """Refuse pictures that only differ in their ending, such as masks beside the frames.

    Raises:
        DataError: naming the first such.
    """
    stems = Counter(file.stem for file in files)
    doubled = next((stem for stem, count in stems.items() if count > 1), None)
    if doubled is not None:
        raise DataError(f"folder {folder} holds several pictures {doubled}.*: keep one of each frame")


class FolderSource:
    """The images of a folder, see :func:`image_files`.

    Raises:
        DataError: if there is no image.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self._files = image_files(folder)
        if not self._files:
            raise DataError(f"folder {folder} holds no image; the frames of a video are images directly in it")
        self.fps = fps
        self.count: int | None = len(self._files)
        self.duration: float | None = len(self._files) / fps

    def close(self) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[Item]:
        for index, file in enumerate(self._files):
            yield index / self.fps, partial(decode_image, file)


def _taken_until(heap: list[int], end: int) -> Iterator[int]:
    """Take what is at most ``end`` off the heap; yield what is below it."""
    while heap and heap[0] <= end:
        value = heapq.heappop(heap)
        if value < end:
            yield value


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """H x W x 3 uint8, upright. Matrix and range of the colours are the frame's, 10 and 12 bits are scaled to 8."""
    image: np.ndarray = frame.to_ndarray(format="rgb24", interpolation=_EXACT)
    quarter_turns = round(frame.rotation / 90) % 4  # anticlockwise, as numpy's
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image
