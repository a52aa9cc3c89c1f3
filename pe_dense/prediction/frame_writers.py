"""Where drawn frames go: a video file or a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

import numpy as np

from pe_dense.prediction.video_io import VideoWriter
from pe_dense.visualization.canvas import save_image

DrawAs = Literal["mp4", "webm", "avi", "frames"]
"""Format of a drawn video; "frames" is a folder of pictures."""


class FrameWriter(Protocol):
    """A context manager that takes the frames of a video one after the other.

    Attributes:
        path: file or folder.
    """

    path: Path

    def __enter__(self) -> FrameWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: np.ndarray, time: float | None = None, name: str | None = None) -> None:
        """Append an H x W x 3 uint8 RGB frame; a video keeps its time, a folder its name."""


class FolderWriter:
    """RGB frames to the pictures of a folder, which :class:`VideoReader` reads as a video.

    Pictures that the folder holds already stay, unless they have the name of a new one.

    Args:
        path: the folder; it is made if need be.
        suffix: of the pictures, ".jpg" or ".png".
    """

    def __init__(self, path: str | Path, suffix: str = ".jpg") -> None:
        self.path = Path(path)
        self._suffix = suffix
        self._written = 0

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every picture is finished as soon as it is written."""

    def write(self, frame: np.ndarray, time: float | None = None, name: str | None = None) -> None:
        """Write a picture.

        Args:
            frame: H x W x 3 uint8 RGB; each picture has its own size.
            time: pictures have none.
            name: of the picture, without its ending; None: how many were written before, in six digits.

        Raises:
            OSError: if it cannot be written.
        """
        save_image(self.path / f"{f'{self._written:06d}' if name is None else name}{self._suffix}", frame)
        self._written += 1


def open_writer(folder: Path, name: str, draw_as: DrawAs, fps: float) -> FrameWriter:
    """What writes ``folder/name.mp4`` (or of another ending), or pictures into ``folder/name_frames``."""
    if draw_as == "frames":
        return FolderWriter(folder / f"{name}_frames")
    return VideoWriter(folder / f"{name}.{draw_as}", fps)
