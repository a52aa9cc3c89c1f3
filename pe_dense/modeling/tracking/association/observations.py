"""Association that trusts observations: OC-SORT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pe_dense.modeling.tracking.association.assignment import assign
from pe_dense.modeling.tracking.association.detections import FrameDetections
from pe_dense.modeling.tracking.association.kalman import AreaFilter, warp_boxes
from pe_dense.modeling.tracking.association.overlap import iou
from pe_dense.modeling.tracking.association.settings import OCSORT
from pe_dense.modeling.tracking.association.states import TrackStates


@dataclass
class ObservedStates(TrackStates):
    """TrackStates with their latest observations.

    Attributes:
        recent: N x T x 4 float64, boxes of the last T frames, oldest first; NaN where there was no detection.
        direction: N x 2 float64, unit vector of the motion in the image, zeros if unknown.
        frozen_mean, frozen_covariance: predicted state in the first frame without a detection, see ``mean``.
        frozen_at: int64, the number of that frame.
    """

    recent: np.ndarray
    direction: np.ndarray
    frozen_mean: np.ndarray
    frozen_covariance: np.ndarray
    frozen_at: np.ndarray

    @classmethod
    def after(cls, tracks: TrackStates, steps: int) -> ObservedStates:
        """New tracks, whose only observation is that of the last of ``steps`` frames."""
        recent = np.full((len(tracks), steps, 4), np.nan)
        recent[:, -1] = tracks.observed
        return cls(
            **vars(tracks),
            recent=recent,
            direction=np.zeros((len(tracks), 2)),
            frozen_mean=tracks.mean.copy(),
            frozen_covariance=tracks.covariance.copy(),
            frozen_at=tracks.last.copy(),
        )

    def earlier(self) -> np.ndarray:
        """N x 4: the oldest of the recent boxes, else the last one of all."""
        seen = ~np.isnan(self.recent[:, :, 0])
        boxes = self.recent[np.arange(len(self)), seen.argmax(axis=1)]
        return np.where(seen.any(axis=1)[:, None], boxes, self.observed)


class ObservationAssociation:
    """OC-SORT (arXiv 2203.14360, algorithm 1).

    In contrast to the published code, the first detection of a track counts as an observation, and pairs that overlap
    too little are left out before the assignment rather than after it.

    Args:
        settings: of OC-SORT.
        class_aware: whether a detection can only continue a track of its own class.
    """

    uses_embeddings = False

    def __init__(self, settings: OCSORT, class_aware: bool) -> None:
        self.settings = settings
        self._class_aware = class_aware
        self._filter = AreaFilter()

    @property
    def least_score(self) -> float:
        """Detections up to it are of no use."""
        return self.settings.low if self.settings.byte else self.settings.high

    def begin(self, found: FrameDetections, index: np.ndarray, frame: int) -> ObservedStates:
        """New tracks."""
        tracks = TrackStates.begin(self._filter.initiate(found.boxes[index]), found, index, frame)
        return ObservedStates.after(tracks, self.settings.delta_t)

    def step(
        self,
        tracks: TrackStates,
        found: FrameDetections,
        frame: int,
        elapsed: int,
        warp: np.ndarray | None,
        is_first: bool,
    ) -> TrackStates:
        """The tracks after one more frame: see :meth:`ConfidenceAssociation.step`."""
        assert isinstance(tracks, ObservedStates)
        tracks = tracks.without_older(frame - self.settings.max_age - 1)
        self._predict(tracks, elapsed if len(tracks) else 0, warp)
        overlap = self._overlap(tracks, self._filter.boxes(tracks.mean), found)
        confident = found.scores > self.settings.high
        left, free = np.ones(len(tracks), dtype=bool), confident.copy()
        pairs = [self._match(tracks, found, overlap, left, free, self._agreement(tracks, found))]
        if self.settings.byte:
            pairs.append(self._match(tracks, found, overlap, left, ~confident))
        if left.any() and free.any():
            pairs.append(self._match(tracks, found, self._overlap(tracks, tracks.observed, found), left, free))
        who, what = (np.concatenate(side) for side in zip(*pairs))
        self._freeze(tracks, left, frame)
        self._update(tracks, found, who, what, frame)
        keep = frame - tracks.last <= self.settings.max_age
        tracks = tracks if keep.all() else tracks[keep]
        return tracks.joined(self.begin(found, np.flatnonzero(free), frame)) if free.any() else tracks

    def shown(self, tracks: TrackStates, frames: int) -> np.ndarray:
        """Which tracks to report (mask) in the ``frames``-th frame."""
        return tracks.tracked & ((tracks.hits >= self.settings.min_hits) | (frames <= self.settings.min_hits))

    def boxes(self, tracks: TrackStates) -> np.ndarray:
        """Where the tracks were last seen: N x 4 XYXY."""
        return tracks.observed

    def _predict(self, tracks: ObservedStates, elapsed: int, warp: np.ndarray | None) -> None:
        for _ in range(elapsed):
            tracks.mean, tracks.covariance = self._filter.predict(tracks.mean, tracks.covariance)
        self._forget(tracks, elapsed - 1)  # the frame at hand is the next one
        if warp is None:
            return
        for mean, covariance in (("mean", "covariance"), ("frozen_mean", "frozen_covariance")):
            state = self._filter.warp(getattr(tracks, mean), getattr(tracks, covariance), warp)
            setattr(tracks, mean, state[0])
            setattr(tracks, covariance, state[1])
        tracks.observed = warp_boxes(tracks.observed, warp)
        tracks.recent = warp_boxes(tracks.recent, warp)
        turned = tracks.direction @ warp[:, :2].T
        tracks.direction = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-9)

    @staticmethod
    def _forget(tracks: ObservedStates, frames: int) -> None:
        """Move the window of recent boxes on by frames in which nothing was looked at."""
        if frames > 0:
            tracks.recent = np.roll(tracks.recent, -frames, axis=1)
            tracks.recent[:, -min(frames, tracks.recent.shape[1]) :] = np.nan

    def _agreement(self, tracks: ObservedStates, found: FrameDetections) -> np.ndarray:
        """N x M in [-inertia / 2, inertia / 2]: OC-SORT's direction term (section 4.2), times the score."""
        away = _centres(found.boxes)[None] - _centres(tracks.earlier())[:, None]
        length = np.sqrt(np.einsum("nmi,nmi->nm", away, away)) + 1e-6
        cosine = np.einsum("nmi,ni->nm", away, tracks.direction) / length
        angle = np.arccos(np.clip(cosine, -1, 1, out=cosine))
        return self.settings.inertia * (np.pi / 2 - angle) / np.pi * found.scores

    def _overlap(self, tracks: ObservedStates, boxes: np.ndarray, found: FrameDetections) -> np.ndarray:
        """N x M IoU with tracks that are in these boxes."""
        return iou(boxes, tracks.shapes, found.boxes, found.shapes, self.settings.overlap)

    def _match(
        self,
        tracks: ObservedStates,
        found: FrameDetections,
        overlap: np.ndarray,
        left: np.ndarray,
        free: np.ndarray,
        bonus: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pair tracks and detections that are still free (masks, updated) by their overlap and a bonus."""
        possible = (overlap >= self.settings.iou) & left[:, None] & free
        if self._class_aware:
            possible &= tracks.classes[:, None] == found.classes
        gain = overlap if bonus is None else overlap + bonus
        who, what = assign(np.where(possible, -gain, np.inf), 1.0)
        left[who], free[what] = False, False
        return who, what

    @staticmethod
    def _freeze(tracks: ObservedStates, left: np.ndarray, frame: int) -> None:
        """Remember the state of tracks that are missed for the first time."""
        missed = np.flatnonzero(left & tracks.tracked)
        tracks.frozen_mean[missed] = tracks.mean[missed]
        tracks.frozen_covariance[missed] = tracks.covariance[missed]
        tracks.frozen_at[missed] = frame

    def _update(
        self, tracks: ObservedStates, found: FrameDetections, who: np.ndarray, what: np.ndarray, frame: int
    ) -> None:
        returning = who[~tracks.tracked[who]]
        boxes = found.boxes[what]
        if len(returning):
            self._replay(tracks, returning, boxes[~tracks.tracked[who]], frame)
        state = self._filter.update(tracks.mean[who], tracks.covariance[who], boxes)
        tracks.mean[who], tracks.covariance[who] = state
        motion = _centres(boxes) - _centres(tracks.earlier()[who])
        tracks.direction[who] = motion / (np.linalg.norm(motion, axis=1, keepdims=True) + 1e-6)
        missed = np.ones(len(tracks), dtype=bool)
        missed[who] = False
        tracks.tracked[missed], tracks.hits[missed], tracks.row[missed] = False, 0, -1
        tracks.observe(who, found, what, frame)
        tracks.recent = np.concatenate([tracks.recent[:, 1:], tracks.observed[:, None]], axis=1)
        tracks.recent[missed, -1] = np.nan

    def _replay(self, tracks: ObservedStates, who: np.ndarray, boxes: np.ndarray, frame: int) -> None:
        """From the frozen state along the straight line to the new observation (ORU, section 4.1)."""
        for moment in range(int(tracks.frozen_at[who].min()), frame):
            begun = tracks.frozen_at[who] <= moment
            some = who[begun]
            share = ((moment - tracks.last[some]) / (frame - tracks.last[some]))[:, None]
            virtual = tracks.observed[some] + share * (boxes[begun] - tracks.observed[some])
            state = self._filter.update(tracks.frozen_mean[some], tracks.frozen_covariance[some], virtual)
            tracks.frozen_mean[some], tracks.frozen_covariance[some] = self._filter.predict(*state)
        tracks.mean[who], tracks.covariance[who] = tracks.frozen_mean[who], tracks.frozen_covariance[who]


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., :2] + boxes[..., 2:]) / 2
