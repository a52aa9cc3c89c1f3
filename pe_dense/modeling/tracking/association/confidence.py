"""Association in the order of the detections' confidence: ByteTrack and BoT-SORT."""

from __future__ import annotations

import numpy as np

from pe_dense.modeling.tracking.association.assignment import assign
from pe_dense.modeling.tracking.association.detections import FrameDetections
from pe_dense.modeling.tracking.association.kalman import AreaFilter, AspectFilter, BoxFilter, SizeFilter, warp_boxes
from pe_dense.modeling.tracking.association.overlap import iou
from pe_dense.modeling.tracking.association.settings import BoTSORT, ByteTrack
from pe_dense.modeling.tracking.association.states import TrackStates

_FILTERS: dict[str, type[BoxFilter]] = {"xyah": AspectFilter, "xywh": SizeFilter, "xysr": AreaFilter}


class ConfidenceAssociation:
    """ByteTrack (arXiv 2110.06864, algorithm 1) and, with appearance, BoT-SORT (arXiv 2206.14651, algorithm 1).

    In contrast to the published code, the state of tracks with a single detection is predicted like that of others.

    Args:
        settings: of either.
        class_aware: whether a detection can only continue a track of its own class.
        frame_rate: frames per second.
    """

    def __init__(self, settings: ByteTrack, class_aware: bool, frame_rate: float) -> None:
        self.settings = settings
        self._class_aware = class_aware
        self._filter = _FILTERS[settings.kalman]()
        self._patience = round(settings.buffer * frame_rate / 30)

    @property
    def least_score(self) -> float:
        """Detections up to it are of no use."""
        return self.settings.low

    @property
    def uses_embeddings(self) -> bool:
        """Whether appearance counts."""
        return isinstance(self.settings, BoTSORT)

    def begin(self, found: FrameDetections, index: np.ndarray, frame: int) -> TrackStates:
        """New tracks."""
        return TrackStates.begin(self._filter.initiate(found.boxes[index]), found, index, frame)

    def step(
        self,
        tracks: TrackStates,
        found: FrameDetections,
        frame: int,
        elapsed: int,
        warp: np.ndarray | None,
        is_first: bool,
    ) -> TrackStates:
        """The tracks after one more frame.

        Args:
            tracks: are used up.
            found: its detections.
            frame: its number.
            elapsed: frames since the one before.
            warp: 2 x 3, how the image has moved since then.
            is_first: nothing was seen before, so new tracks need no confirmation.
        """
        settings = self.settings
        tracks = tracks.without_older(frame - self._patience - 1)
        self._predict(tracks, elapsed if len(tracks) else 0, warp)
        fused, plain, looks = self._costs(tracks, found)
        confident = found.scores > settings.high
        doubtful = np.flatnonzero(~confident)
        free = np.flatnonzero(confident)
        pool, fresh = np.flatnonzero(tracks.confirmed), np.flatnonzero(~tracks.confirmed)
        t1, d1 = _match(fused, pool, free, settings.match)
        free = _without(free, d1)
        unseen = _without(pool, t1)
        t2, d2 = _match(plain, unseen[tracks.tracked[unseen]], doubtful, settings.match_low)
        t3, d3 = _match(fused, fresh, free, settings.match_unconfirmed)
        free = _without(free, d3)
        t4, d4 = pool[:0], free[:0]
        if looks is not None and isinstance(settings, BoTSORT) and settings.reidentify > 0:
            t4, d4 = _match(looks, unseen[~tracks.tracked[unseen]], free, settings.reidentify)
            free = _without(free, d4)
        # who comes back elsewhere has not flown there: the filter begins anew
        tracks.mean[t4], tracks.covariance[t4] = self._filter.initiate(found.boxes[d4])
        self._update(tracks, found, np.concatenate([t1, t2, t3, t4]), np.concatenate([d1, d2, d3, d4]), frame)
        keep = tracks.confirmed & (frame - tracks.last <= self._patience)
        tracks = tracks if keep.all() else tracks[keep]
        born = free[found.scores[free] >= settings.new]
        if len(born):
            new = self.begin(found, born, frame)
            new.confirmed[:] = is_first
            tracks = tracks.joined(new)
        return self._without_duplicates(tracks)

    def shown(self, tracks: TrackStates, frames: int) -> np.ndarray:
        """Which tracks to report (mask) in the ``frames``-th frame."""
        return tracks.tracked & (tracks.confirmed | self.settings.show_unconfirmed)

    def boxes(self, tracks: TrackStates) -> np.ndarray:
        """Where the tracks are: N x 4 XYXY."""
        return self._filter.boxes(tracks.mean)

    def _predict(self, tracks: TrackStates, elapsed: int, warp: np.ndarray | None) -> None:
        lost = np.flatnonzero(~tracks.tracked)
        for _ in range(elapsed):
            if len(lost):
                tracks.mean[lost] = self._filter.hold_size(tracks.mean[lost])
            tracks.mean, tracks.covariance = self._filter.predict(tracks.mean, tracks.covariance)
        if warp is not None:
            tracks.mean, tracks.covariance = self._filter.warp(tracks.mean, tracks.covariance, warp)
            tracks.observed = warp_boxes(tracks.observed, warp)

    def _costs(self, tracks: TrackStates, found: FrameDetections) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """N x M costs of the first match, of the second, and of appearance alone if there is any."""
        looks: np.ndarray | None = None
        boxes = self._filter.boxes(tracks.mean)
        overlap = iou(boxes, tracks.shapes, found.boxes, found.shapes, self.settings.overlap)
        plain = 1 - overlap
        fused = 1 - overlap * found.scores if self.settings.fuse_score else plain.copy()
        if found.embeddings is not None and isinstance(self.settings, BoTSORT):
            tracks.widen(found.embeddings.shape[1])
            looks = (1 - tracks.embeddings @ found.embeddings.T) / 2
            unlike = (looks > self.settings.appearance) | (plain > self.settings.proximity)
            np.minimum(fused, np.where(unlike, 1.0, looks), out=fused)
        if self._class_aware:
            other = tracks.classes[:, None] != found.classes
            if other.any():
                plain[other] = fused[other] = np.inf
                if looks is not None:
                    looks[other] = np.inf
        return fused, plain, looks

    def _update(
        self, tracks: TrackStates, found: FrameDetections, who: np.ndarray, what: np.ndarray, frame: int
    ) -> None:
        tracks.tracked[:] = False
        tracks.row[:] = -1
        if not len(who):
            return
        state = self._filter.update(tracks.mean[who], tracks.covariance[who], found.boxes[what])
        tracks.mean[who], tracks.covariance[who] = state
        tracks.observe(who, found, what, frame)
        if found.embeddings is not None and isinstance(self.settings, BoTSORT):
            sure = found.scores[what] > self.settings.high
            tracks.blend(who[sure], found.embeddings[what[sure]], self.settings.ema)

    def _without_duplicates(self, tracks: TrackStates) -> TrackStates:
        """Of a tracked and a lost track in the same place, the one that lived longer."""
        seen, lost = np.flatnonzero(tracks.tracked), np.flatnonzero(~tracks.tracked)
        if not len(seen) or not len(lost):
            return tracks
        boxes, shapes = self._filter.boxes(tracks.mean), tracks.shapes
        overlap = iou(boxes[seen], shapes[seen], boxes[lost], shapes[lost], self.settings.overlap)
        same = overlap > self.settings.duplicate_iou
        if self._class_aware:
            same &= tracks.classes[seen][:, None] == tracks.classes[lost]
        s, o = np.nonzero(same)
        if not len(s):
            return tracks
        s, o = seen[s], lost[o]
        life = tracks.last - tracks.first
        drop = np.where(life[s] > life[o], o, s)
        return tracks[np.setdiff1d(np.arange(len(tracks)), drop)]


def _match(cost: np.ndarray, rows: np.ndarray, columns: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """:func:`assign` among some rows and columns; returns indices into the whole."""
    if not len(rows) or not len(columns):
        return rows[:0], columns[:0]
    r, c = assign(cost[np.ix_(rows, columns)], limit)
    return rows[r], columns[c]


def _without(index: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """What is left of ascending indices."""
    return index if not len(taken) else np.setdiff1d(index, taken, assume_unique=True)
