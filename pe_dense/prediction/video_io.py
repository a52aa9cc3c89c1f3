"""Video files through OpenCV, one frame at a time."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from pe_dense.data import DataError

logger = logging.getLogger(__name__)

_DEFAULT_FPS = 25.0
# MPEG-4 part 2 is in every build of OpenCV with FFmpeg (H.264 encoders are not, for patents);
# Motion JPEG in AVI is built into OpenCV itself
_CODECS = (("mp4v", ""), ("MJPG", ".avi"))


class VideoReader:
    """Frames of a video file; a context manager.

    Args:
        path: the file.
        every: yield frames 0, N, 2N, ...; the ones between are skipped without being converted.

    Attributes:
        fps: frames per second of the file (25 if it does not say).
        size: (height, width) of the first frame, after the rotation that the file asks for.
        expected_frames: how many frames will be yielded according to the file, None if it does not say.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it is no video that can be decoded, or has no frame.
    """

    def __init__(self, path: str | Path, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, it is {every}")
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"video {path} does not exist; check the path")
        self._every = every
        # absolute: FFmpeg would take what stands before a colon for a protocol; and by FFmpeg if possible: another
        # backend takes "%03d" in a name for a sequence of images
        backends = cv2.videoio_registry.getBackends()
        backend = cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in backends else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(_path_for_opencv(self.path), backend)
        first = self._capture.read()[1] if self._capture.isOpened() else None
        if first is None:
            opened = self._capture.isOpened()
            self._capture.release()
            fault = "holds no frame that can be decoded" if opened else "cannot be opened: damaged, or not a video"
            raise DataError(f"video {path} {fault} ({self.path.stat().st_size:,} bytes); copy or convert it again")
        self._first: np.ndarray | None = first
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else _DEFAULT_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known = math.isfinite(count) and count >= 1
        self.expected_frames = math.ceil(int(count) / every) if known else None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the frame in the file from 0, H x W x 3 uint8 RGB), once."""
        frame, self._first = self._first, None
        index = 0
        while frame is not None:
            yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            for _ in range(self._every - 1):
                if not self._capture.grab():
                    return
            frame = self._capture.read()[1]
            index += self._every


class VideoWriter:
    """RGB frames to a video file; a context manager. What was written is playable once it is closed.

    The file is MPEG-4, or Motion JPEG (its name gets an additional ``.avi``) if this OpenCV has no encoder for MPEG-4.

    Args:
        path: the file, ending in ``.mp4``; its folder is made if need be.
        fps: frames per second.

    Attributes:
        path: the file actually written, known after the first frame.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, frame: np.ndarray) -> None:
        """Append a frame: H x W x 3 uint8 RGB; one of another size than the first is resized.

        Raises:
            OSError: if no video can be written there.
        """
        height, width = frame.shape[:2]
        if self._writer is None:
            self._size = (width + width % 2, height + height % 2)  # chroma has half the resolution: sides are even
            self._writer = self._open()
        if (width + width % 2, height + height % 2) != self._size:
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        elif (width, height) != self._size:
            frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: if nothing arrived on the disk.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if not self.path.is_file() or not self.path.stat().st_size:
            raise OSError(f"video {self.path} could not be written; is the disk full?")

    def _open(self) -> cv2.VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for codec, suffix in _CODECS:
            path = self.path.with_name(self.path.name + suffix)
            writer = cv2.VideoWriter(_path_for_opencv(path), cv2.VideoWriter.fourcc(*codec), self._fps, self._size)
            if writer.isOpened():
                self.path = path
                return writer
        raise OSError(f"video {self.path} cannot be written: check the folder's permissions and free space")


def _path_for_opencv(path: Path) -> str:
    """The absolute path; OpenCV crashes with names that are not valid text."""
    text = os.path.abspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"the name of video {text!a} is not valid UTF-8; rename the file or its folder") from None
    return text
