"""Boxes in, identities out, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, overload

import numpy as np
import torch
from torch import Tensor

from pe_dense.modeling.tracking.association.confidence import ConfidenceAssociation
from pe_dense.modeling.tracking.association.detections import FrameDetections
from pe_dense.modeling.tracking.association.observations import ObservationAssociation
from pe_dense.modeling.tracking.association.settings import OCSORT, ByteTrack, Settings
from pe_dense.modeling.tracking.association.states import TrackStates
from pe_dense.structures import Instances


@dataclass(frozen=True)
class TrackedBoxes:
    """M objects of one frame that have an identity.

    Attributes:
        frame: its number.
        ids: M int64, counted from 1 in the order in which tracks are first reported.
        boxes: M x 4 float64, XYXY absolute pixels.
        scores: M float64, of the detection.
        classes: M int64.
        rows: M int64, which of the objects given each one is.
    """

    frame: int
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class Association(Protocol):
    """How a frame's detections continue the tracks."""

    @property
    def least_score(self) -> float: ...

    @property
    def uses_embeddings(self) -> bool: ...

    def begin(self, found: FrameDetections, index: np.ndarray, frame: int) -> TrackStates: ...

    def step(
        self,
        tracks: TrackStates,
        found: FrameDetections,
        frame: int,
        elapsed: int,
        warp: np.ndarray | None,
        is_first: bool,
    ) -> TrackStates: ...

    def shown(self, tracks: TrackStates, frames: int) -> np.ndarray: ...

    def boxes(self, tracks: TrackStates) -> np.ndarray: ...


class Tracker:
    """Tracking by detection: gives the objects of each frame of one video an identity.

    ``tracker = Tracker(ByteTrack())``, then ``tracker.update(instances)`` for each frame. What is wrong with a frame
    raises an error before anything is changed, so that the video can go on without it.

    Args:
        settings: :class:`ByteTrack`, :class:`BoTSORT` or :class:`OCSORT`.
        class_aware: whether a detection can only continue a track of its own class; without it the class of a track is
            that of its last detection.
        frame_rate: frames per second, which ``buffer`` of ByteTrack and BoT-SORT goes by.

    Raises:
        ValueError: if the frame rate is not positive.
    """

    def __init__(self, settings: Settings | None = None, class_aware: bool = True, frame_rate: float = 30.0) -> None:
        self.settings = ByteTrack() if settings is None else settings
        self._uses_masks = self.settings.overlap == "mask"
        self.class_aware = class_aware
        self.reset(frame_rate)

    def reset(self, frame_rate: float | None = None) -> None:
        """Forget everything: the next frame is the first of a new video, and ids begin at 1 again.

        Args:
            frame_rate: of the new video; None: that of the one before.

        Raises:
            ValueError: if the frame rate is not positive.
        """
        if frame_rate is not None:
            self._association = self._associate(frame_rate)
        nothing = FrameDetections.of(np.zeros((0, 6)), use_masks=self._uses_masks)
        self._tracks = self._association.begin(nothing, np.zeros(0, dtype=np.int64), 0)
        self._frame: int | None = None
        self._frames = 0
        self._ids = 0

    def _associate(self, frame_rate: float) -> Association:
        if not 0 < frame_rate < np.inf:
            raise ValueError(f"frame_rate must be positive, it is {frame_rate}")
        if isinstance(self.settings, OCSORT):
            return ObservationAssociation(self.settings, self.class_aware)
        return ConfidenceAssociation(self.settings, self.class_aware, frame_rate)

    @property
    def uses_embeddings(self) -> bool:
        """Whether appearance counts, so that :meth:`update` should be given embeddings."""
        return self._association.uses_embeddings

    @property
    def num_kept(self) -> int:
        """TrackStates in memory: those seen in the last frame, lost ones, and those not confirmed yet."""
        return len(self._tracks)

    @overload
    def update(
        self,
        objects: Instances,
        frame: int | None = None,
        warp: np.ndarray | None = None,
        embeddings: Tensor | np.ndarray | None = None,
    ) -> Instances: ...

    @overload
    def update(
        self,
        objects: np.ndarray,
        frame: int | None = None,
        warp: np.ndarray | None = None,
        embeddings: Tensor | np.ndarray | None = None,
    ) -> TrackedBoxes: ...

    def update(
        self,
        objects: Instances | np.ndarray,
        frame: int | None = None,
        warp: np.ndarray | None = None,
        embeddings: Tensor | np.ndarray | None = None,
    ) -> Instances | TrackedBoxes:
        """One more frame.

        Args:
            objects: what a detector found, with low scores too if the settings use them: instances, or an array with
                the columns x1, y1, x2, y2 and, not necessarily, score and class. Those without area are left out. With
                ``overlap="mask"`` in the settings they must be instances with masks.
            frame: number of the frame; the next one if not given. Numbers may have gaps: nothing is known of the frames
                between, so tracks move on through them and grow older, but do not count as missed there. A frame
                without objects is not a gap; it must be given, without objects.
            warp: 2 x 3, how image points have moved since the last frame: new = warp @ (x, y, 1); None: not at all.
            embeddings: M x E, appearance of each object, of any length; a frame may go without.

        Returns:
            Those of the objects that have an identity, by id. Instances come back with ``track_ids``, the tracks'
            boxes, and all else (masks, classes, scores) as in the detections; arrays as :class:`TrackedBoxes`.

        Raises:
            ValueError: for detections that are not finite, of negative size or without the masks that are needed (see
                :meth:`FrameDetections.of`), a frame that is not later than the last one, or a warp or embeddings that
                do not fit.
        """
        found = FrameDetections.of(objects, embeddings, self._association.least_score, self._uses_masks)
        number, elapsed = self._next(frame)
        self._check_embeddings(found)
        motion = None if warp is None else checked_warp(warp)
        is_first = not self._frames
        self._tracks = self._association.step(self._tracks, found, number, elapsed, motion, is_first)
        self._frame, self._frames = number, self._frames + 1
        shown = self._report()
        return _with_ids(objects, shown) if isinstance(objects, Instances) else shown

    def _report(self) -> TrackedBoxes:
        """What the last frame shows; tracks reported for the first time get their id."""
        tracks, association = self._tracks, self._association
        shown = np.flatnonzero(association.shown(tracks, self._frames))
        nameless = shown[tracks.ids[shown] == 0]
        tracks.ids[nameless] = np.arange(self._ids + 1, self._ids + 1 + len(nameless))
        self._ids += len(nameless)
        shown = shown[np.argsort(tracks.ids[shown])]
        assert self._frame is not None
        return TrackedBoxes(
            self._frame,
            tracks.ids[shown],
            association.boxes(tracks)[shown],
            tracks.scores[shown],
            tracks.classes[shown],
            tracks.row[shown],
        )

    def _next(self, frame: int | None) -> tuple[int, int]:
        """The number of this frame and how many frames have passed."""
        if self._frame is None:
            return (1 if frame is None else int(frame)), 1
        if frame is None:
            return self._frame + 1, 1
        if frame <= self._frame:
            again = "was given already" if frame == self._frame else f"comes after frame {self._frame}"
            raise ValueError(
                f"frame {frame} {again}: give each frame once, in ascending order, all its objects together; call "
                f"reset() before another video"
            )
        return int(frame), int(frame) - self._frame

    def _check_embeddings(self, found: FrameDetections) -> None:
        if found.embeddings is None:
            return
        if not self.uses_embeddings:
            raise ValueError(f"{type(self.settings).__name__} does not look at appearance: use BoTSORT, or give none")
        width, known = found.embeddings.shape[1], self._tracks.embeddings.shape[1]
        if known not in (0, width):
            raise ValueError(f"embeddings have {width} numbers, those of earlier frames had {known}")


def checked_warp(warp: np.ndarray) -> np.ndarray:
    """A 2 x 3 float64 matrix that can be undone.

    Raises:
        ValueError: if it is none.
    """
    matrix = np.asarray(warp, dtype=np.float64)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 1e-6:
        raise ValueError(f"the motion of the camera must be a finite, invertible 2 x 3 matrix, it is {matrix.tolist()}")
    return matrix


def _with_ids(objects: Instances, shown: TrackedBoxes) -> Instances:
    """The objects that have an identity."""
    rows = torch.from_numpy(shown.rows).to(objects.boxes.device)
    boxes = torch.from_numpy(shown.boxes).to(objects.boxes)
    return replace(objects[rows], boxes=boxes, track_ids=torch.from_numpy(shown.ids).to(rows.device))
