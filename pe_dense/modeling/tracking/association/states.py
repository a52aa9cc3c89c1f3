"""What is known of all tracks, an array per quantity."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from pe_dense.modeling.tracking.association.detections import FrameDetections, normalised

Self = TypeVar("Self", bound="TrackStates")


@dataclass
class TrackStates:
    """N tracks; every field has N rows.

    Attributes:
        mean: N x 8 float64, see :class:`~pe_dense.modeling.tracking.association.kalman.BoxFilter`.
        covariance: N x 8 x 8 float64.
        ids: int64, given when a track is first reported; 0 before.
        classes: int64, of the last detection.
        scores: float64, of the last detection.
        observed: N x 4 float64, XYXY box of the last detection.
        first: int64, frame of the first detection.
        last: int64, frame of the last detection.
        hits: int64, matches in a row after the first detection.
        confirmed: bool, more than a single detection.
        tracked: bool, seen in the last frame; the others are lost.
        row: int64, the object of this frame that it is, -1 if none.
        embeddings: N x E float64, mean appearance; zeros as long as there is none.
        shapes: N x SIDE x SIDE float32, mask of the last detection; N x 0 x 0 if masks are not looked at.
    """

    mean: np.ndarray
    covariance: np.ndarray
    ids: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    observed: np.ndarray
    first: np.ndarray
    last: np.ndarray
    hits: np.ndarray
    confirmed: np.ndarray
    tracked: np.ndarray
    row: np.ndarray
    embeddings: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def begin(
        cls, state: tuple[np.ndarray, np.ndarray], found: FrameDetections, index: np.ndarray, frame: int
    ) -> TrackStates:
        """A track for each of some detections, in this ``state``."""
        boxes, count = found.boxes[index], len(index)
        return cls(
            *state,
            ids=np.zeros(count, dtype=np.int64),
            classes=found.classes[index],
            scores=found.scores[index],
            observed=boxes,
            first=np.full(count, frame),
            last=np.full(count, frame),
            hits=np.zeros(count, dtype=np.int64),
            confirmed=np.zeros(count, dtype=bool),
            tracked=np.ones(count, dtype=bool),
            row=found.rows[index],
            embeddings=np.zeros((count, 0)) if found.embeddings is None else found.embeddings[index],
            shapes=found.shapes[index],
        )

    def __getitem__(self: Self, index: np.ndarray) -> Self:
        """Some of the tracks, by a boolean mask or indices."""
        return type(self)(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def joined(self: Self, other: TrackStates) -> Self:
        """These and then the others."""
        width = max(self.embeddings.shape[1], other.embeddings.shape[1])
        self.widen(width)
        other.widen(width)
        both = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return type(self)(**{name: np.concatenate([mine, theirs]) for name, mine, theirs in both})

    def without_older(self: Self, frame: int) -> Self:
        """Those that were seen in ``frame`` or later."""
        keep = self.last >= frame
        return self if keep.all() else self[keep]

    def widen(self, width: int) -> None:
        """Room for embeddings of tracks that have none yet."""
        if self.embeddings.shape[1] < width:
            self.embeddings = np.zeros((len(self), width))

    def observe(self, index: np.ndarray, found: FrameDetections, detection: np.ndarray, frame: int) -> None:
        """Note the detection that each of some tracks was matched with; the filter's state is the caller's."""
        self.classes[index] = found.classes[detection]
        self.scores[index] = found.scores[detection]
        self.observed[index] = found.boxes[detection]
        self.row[index] = found.rows[detection]
        self.shapes[index] = found.shapes[detection]
        self.last[index] = frame
        self.hits[index] += 1
        self.confirmed[index] = self.tracked[index] = True

    def blend(self, index: np.ndarray, vectors: np.ndarray, keep: float) -> None:
        """Exponential moving average of the embeddings of some tracks, of length 1 (the first one is taken as is)."""
        self.widen(vectors.shape[1])
        self.embeddings[index] = normalised(keep * self.embeddings[index] + (1 - keep) * vectors)
