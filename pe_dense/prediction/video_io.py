"""Videos in and out, one frame at a time."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import cv2
import numpy as np

from pe_dense.data import DataError
from pe_dense.prediction.video_sources import DEFAULT_FPS, FileSource, FolderSource, VideoSource, load_av

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

OnError = Literal["skip", "stop"]

_TICKS = 90_000  # a second: whole numbers for 24, 25, 30, 50, 60 and 30000/1001 frames per second
_VP9 = ("libvpx-vp9", {"crf": "30", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"})
_H264 = ("libx264", {"crf": "18", "preset": "veryfast"})
_BT709, _LIMITED_RANGE = 1, 1  # numbers in ITU-T H.273; of FFmpeg's AVCOL_RANGE_MPEG


class VideoFrame(NamedTuple):
    """One frame.

    Attributes:
        number: in the video, from 0.
        time: seconds after the first frame at which it is shown.
        image: H x W x 3 uint8 RGB.
    """

    number: int
    time: float
    image: np.ndarray


class VideoReader:
    """Frames of a video, each exactly once and in the order in which they are shown; a context manager.

    Frames are upright (rotation tags are applied), 8-bit RGB by the file's own colour matrix and range; high dynamic
    range is not tone-mapped, pixels are taken for square. If the picture's size changes in between, each frame has its
    own. A frame that cannot be decoded keeps its number; those after it may show traces of the damage until the next
    key frame, which no decoder tells.

    Args:
        source: video file, folder of images (in natural order: ``2.png`` before ``10.png``), or a stream's URL
            (``rtsp://``, ``http://``). A camera is a file on Linux: ``/dev/video0``.
        every: yield frames 0, N, 2N, ...; the ones between are skipped without being converted.
        on_error: what a frame that cannot be decoded, or a video that ends early, does: "skip" warns and goes on,
            "stop" raises.
        fps: frames per second of a folder of images; ignored for videos, which know.

    Attributes:
        fps: frames per second, on average (25 if the file does not say).
        size: (height, width) of the first frame.
        expected_frames: how many frames will be yielded according to the file, None if it does not say.
        broken: (index, time) of the frames that could not be decoded so far.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it is no video that can be decoded, or has no frame. While iterating: as ``on_error`` says.
    """

    def __init__(
        self, source: str | Path, every: int = 1, *, on_error: OnError = "skip", fps: float = DEFAULT_FPS
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, it is {every}")
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps must be above 0, it is {fps}")
        self.path = source
        self._every, self._on_error = every, on_error
        self.broken: list[tuple[int, float]] = []
        self._source = self._open(source, fps)
        self.fps = self._source.fps
        count = self._source.count
        self.expected_frames = None if count is None else math.ceil(count / every)
        self._frames = self._read()
        try:
            self._first = next(self._frames, None)
            if self._first is None:
                raise DataError(f"video {source} holds no frame that can be decoded; copy or convert it again")
        except BaseException:
            self._source.close()
            raise
        self.size: tuple[int, int] = (self._first.image.shape[0], self._first.image.shape[1])

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames.close()
        self._source.close()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the frame in the video from 0, H x W x 3 uint8 RGB), once."""
        return ((frame.number, frame.image) for frame in self.frames())

    def frames(self) -> Iterator[VideoFrame]:
        """The frames with their times, once."""
        first, self._first = self._first, None
        if first is not None:
            yield first
            del first  # a frame that is done with must not stay in memory
            yield from self._frames

    @staticmethod
    def _open(source: str | Path, fps: float) -> VideoSource:
        if "://" in str(source):
            return FileSource(str(source))
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"video {source} does not exist; check the path")
        # absolute: FFmpeg would take what stands before a colon for a protocol
        return FolderSource(path, fps) if path.is_dir() else FileSource(os.path.abspath(path))

    def _read(self) -> Generator[VideoFrame, None, None]:
        index, time, reported = -1, 0.0, 0
        for index, (time, decode) in enumerate(self._source):
            if index % self._every and decode is not None:
                continue
            try:
                image = decode() if decode is not None else None
            except (OSError, DataError) as error:  # one of a folder's images
                logger.warning("%s", error)
                image = None
            if image is None:
                self.broken.append((index, time))
                if self._on_error == "stop":
                    self._report(0)
                continue
            self._report(reported)
            reported = len(self.broken)
            yield VideoFrame(index, time, image)
            del image
        self._report(reported)
        count, duration = self._source.count, self._source.duration
        # with a variable frame rate the count may be an estimate, and the last frame may stay for long: not both
        if count and duration and 0 < index + 1 < 0.95 * count - 1 and time < 0.95 * duration - 2 / self.fps:
            self._fault(f"ends early: {index + 1} of {count} frames could be read; it may be damaged")

    def _report(self, reported: int) -> None:
        """Tell of the broken frames after the first ``reported`` ones."""
        lost = self.broken[reported:]
        if lost:
            (first, start), (last, end) = lost[0], lost[-1]
            which = f"frame {first} ({start:.2f} s)"
            if len(lost) > 1:
                which = f"{len(lost)} frames, {first} ({start:.2f} s) to {last} ({end:.2f} s),"
            self._fault(f"is damaged: {which} could not be decoded")

    def _fault(self, fault: str) -> None:
        if self._on_error == "stop":
            raise DataError(f"video {self.path} {fault}; copy or convert it again, or skip what is broken")
        logger.warning("video %s %s", self.path, fault)


class VideoWriter:
    """RGB frames to a video file that plays in any browser; a context manager. It is playable once it is closed.

    ``.mp4`` and other names become H.264 (VP9 if this build of FFmpeg has no x264), ``.webm`` VP9; 8-bit 4:2:0, BT.709,
    and the index of an mp4 at its front, so that it starts playing while it loads. ``.avi`` has a constant frame rate:
    times are rounded to it, and a frame that stays longer is repeated. Without sound.

    Args:
        path: the file, its ending says the format; its folder is made if need be.
        fps: frames per second of frames without a time.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        self._fps = fps
        self._container: av.container.OutputContainer | None = None
        self._size = (0, 0)
        self._begin = 0.0
        self._time: float | None = None
        self._pts = -1
        self._previous: av.VideoFrame | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, frame: np.ndarray, time: float | None = None, name: str | None = None) -> None:
        """Append a frame.

        Args:
            frame: H x W x 3 uint8 RGB; one of another size than the first is resized.
            time: seconds at which it is shown; the file begins with that of the first. None: 1 / fps after the one
                before.
            name: frames of a video have none; for :class:`FolderWriter` in its place.

        Raises:
            ValueError: if the time is not after that of the frame before.
            OSError: if no video can be written there.
        """
        if time is None:
            time = 0.0 if self._time is None else self._time + 1 / self._fps
        if self._time is not None and not time > self._time:
            raise ValueError(f"times of frames must ascend; {time:g} s comes after {self._time:g} s")
        height, width = frame.shape[:2]
        even = (width + width % 2, height + height % 2)  # chroma has half the resolution: sides are even
        try:
            if self._container is None:
                self._size, self._begin = even, time
                self._open()
            if even != self._size:
                frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
            elif (width, height) != even:
                frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            self._encode(frame, time - self._begin)
        except self._av.FFmpegError as error:
            raise self._unwritable(error) from error
        self._time = time

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: if it cannot be finished.
        """
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            try:
                self._mux(container, self._stream.encode(None))
            finally:
                container.close()
        except self._av.FFmpegError as error:
            raise self._unwritable(error) from error

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        suffix = self.path.suffix.lower()
        self._av = load_av()
        encoders = [_VP9] if suffix == ".webm" else [_H264, _VP9]
        codec, options = next(((n, o) for n, o in encoders if n in self._av.codecs_available), encoders[-1])
        fast_start = {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}
        self._container = self._av.open(os.path.abspath(self.path), "w", options=fast_start)
        rate = Fraction(self._fps).limit_denominator(1001)
        self._stream = cast("av.VideoStream", self._container.add_stream(codec, rate, options=options))
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = *self._size, "yuv420p"
        context.time_base = 1 / rate if suffix == ".avi" else Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        context.max_b_frames = 0  # AVI cannot time them, and they make mp4 tell a wrong duration if the rate varies
        self._unit, self._is_constant = context.time_base, suffix == ".avi"

    def _encode(self, image: np.ndarray, time: float) -> None:
        assert self._container is not None
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
        pts = max(round(time / self._unit), self._pts + 1)
        for gap in range(self._pts + 1, pts) if self._is_constant else ():
            assert self._previous is not None
            self._previous.pts = gap
            self._mux(self._container, self._stream.encode(self._previous))
        frame.pts, frame.time_base, self._pts = pts, self._unit, pts
        self._mux(self._container, self._stream.encode(frame))
        self._previous = frame

    def _mux(self, container: av.container.OutputContainer, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.duration = round(1 / self._fps / packet.time_base)  # tells how long the last frame is shown
            container.mux(packet)

    def _unwritable(self, error: Exception) -> OSError:
        reason = getattr(error, "strerror", None) or error
        return OSError(f"video {self.path} cannot be written ({reason}): check the folder's permissions and free space")
