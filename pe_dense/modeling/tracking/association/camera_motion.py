"""How the camera moves from frame to frame, as a 2 x 3 warp of image points: new = warp @ (x, y, 1)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from pe_dense.modeling.tracking.association.tracker import checked_warp

_CORNERS, _QUALITY, _DISTANCE = 600, 0.01, 6.0  # at most; of the best one's strength; pixels apart
_FEWEST = 12  # points that must agree, or the motion counts as unknown
_THIN = 0.02  # of the image: what must be seen of the background for corners to be looked for


class CameraMotion(Protocol):
    """Where the warps of :meth:`Tracker.update` come from."""

    def __call__(self, frame: int, image: np.ndarray | None, boxes: np.ndarray) -> np.ndarray | None:
        """The motion since the frame of the call before.

        Args:
            frame: its number, later than that one's.
            image: H x W x 3 uint8 RGB; None if there are no images.
            boxes: N x 4 XYXY, objects of this frame, which move by themselves.

        Returns:
            2 x 3 float64; None in the first frame, and where the motion is not known.
        """


class SparseFlow:
    """Motion of the background, from corners followed by pyramidal Lucas-Kanade flow (as in BoT-SORT, section 3.2).

    A shift, turn and scale is fitted with RANSAC. If too few corners agree the camera counts as resting.

    Args:
        max_side: larger images are shrunk until their longer side has this many pixels.
    """

    def __init__(self, max_side: int = 640) -> None:
        if max_side < 32:
            raise ValueError(f"max_side must be at least 32, it is {max_side}")
        self._max_side = max_side
        self._grey: np.ndarray | None = None
        self._corners: np.ndarray | None = None

    def __call__(self, frame: int, image: np.ndarray | None, boxes: np.ndarray) -> np.ndarray | None:
        """See :class:`CameraMotion`.

        Raises:
            ValueError: without an image.
        """
        if image is None:
            raise ValueError("the motion of the camera is to be seen in the images, but there are none; give a file")
        scale = min(1.0, self._max_side / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        warp = self._since_last(grey)
        self._grey = grey
        background = _background(grey.shape, boxes * scale)
        self._corners = cv2.goodFeaturesToTrack(grey, _CORNERS, _QUALITY, _DISTANCE, mask=background)
        if warp is not None:
            warp[:, 2] /= scale
        return warp

    def _since_last(self, grey: np.ndarray) -> np.ndarray | None:
        if self._grey is None or self._grey.shape != grey.shape or self._corners is None:
            return None
        guess = self._corners.copy()
        found, state, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, self._corners, guess)
        good = np.asarray(state)[:, 0] == 1
        if good.sum() < _FEWEST:
            return None
        fitted, inliers = cv2.estimateAffinePartial2D(
            self._corners[good], np.asarray(found)[good], method=cv2.RANSAC, ransacReprojThreshold=1.5
        )
        if fitted is None or np.sum(inliers) < _FEWEST:
            return None
        return np.asarray(fitted, dtype=np.float64)


class MotionFile:
    """Motion from a text file: lines of a frame's number and the six numbers of its 2 x 3 warp, row by row, as the
    files that BoT-SORT comes with. Warps of frames that are skipped are joined.

    Args:
        path: numbers separated by blanks, tabs or commas. The first line belongs to the first frame, whatever its
            number is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the line that is wrong.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"camera motion {self.path} does not exist; check the path")
        self._warps: list[np.ndarray] = []
        self._offset: int | None = None
        self._last = 0
        begin = None
        for line, text in enumerate(self.path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if not text.strip():
                continue
            try:
                number, *values = (float(cell) for cell in text.replace(",", " ").split())
                if len(values) != 6:
                    raise ValueError(f"it has {len(values) + 1} numbers, not 7")
                warp = checked_warp(np.array(values).reshape(2, 3))
                begin = number if begin is None else begin
                if number != begin + len(self._warps):
                    raise ValueError(f"its frame is {number:g}, {begin + len(self._warps):g} should follow")
            except ValueError as error:
                raise ValueError(f"camera motion {self.path}, line {line}: {error}; repair it") from None
            self._warps.append(warp)
        if not self._warps:
            raise ValueError(f"camera motion {self.path} is empty; leave it out for a camera that rests")

    def __call__(self, frame: int, image: np.ndarray | None, boxes: np.ndarray) -> np.ndarray | None:
        """See :class:`CameraMotion`.

        Raises:
            ValueError: if the file ends before this frame.
        """
        if self._offset is None:
            self._offset = self._last = frame
            return None
        if frame - self._offset >= len(self._warps):
            raise ValueError(
                f"camera motion {self.path} has {len(self._warps)} lines, the video is longer; is it of another one?"
            )
        total = np.eye(3)
        for warp in self._warps[self._last - self._offset + 1 : frame - self._offset + 1]:
            total = np.vstack([warp, (0, 0, 1)]) @ total
        self._last = frame
        return total[:2]


def _background(shape: tuple[int, ...], boxes: np.ndarray) -> np.ndarray | None:
    """uint8 mask of what lies in no box; None, everything, if the boxes cover nearly all of it."""
    mask = np.full(shape, 255, dtype=np.uint8)
    height, width = shape
    for x0, y0, x1, y1 in np.clip(np.round(boxes), 0, [width, height, width, height]).astype(int):
        mask[y0:y1, x0:x1] = 0
    return mask if mask.mean() > 255 * _THIN else None
