"""Which objects and frames of annotated videos are scored, and the scores of one frame."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np

from pe_dense.evaluation.mask_measures import contour_accuracy, region_similarity
from pe_dense.structures.wording import counted, few

logger = logging.getLogger(__name__)


Plan = dict[str, dict[str, list[int]]]  # sequence -> frame -> the objects that are scored in it


class VosSequence(Protocol):
    """One video with masks of objects."""

    @property
    def name(self) -> str: ...

    @property
    def annotations(self) -> Mapping[str, str]:
        """Frame -> mask file, in order of time."""

    @property
    def objects(self) -> Mapping[int, str]:
        """Object -> first frame in which it is annotated."""

    @property
    def seen(self) -> Mapping[int, bool]:
        """Object -> whether its category was seen in training; empty if nobody knows."""

    def read_labels(self, frame: str) -> np.ndarray:
        """H x W uint8: 0 background, 255 void, else the object."""


class VosResults(Protocol):
    """Saved masks of objects."""

    @property
    def folder(self) -> object: ...

    @property
    def sequences(self) -> Sequence[str]: ...

    def frames(self, sequence: str) -> Collection[str]: ...

    def file(self, sequence: str, frame: str) -> str:
        """Path of a result, for messages."""

    def read_labels(self, sequence: str, frame: str) -> np.ndarray:
        """H x W uint8: 0 background, else the object."""


class VosData(Protocol):
    """Annotated videos."""

    @property
    def sequences(self) -> Sequence[VosSequence]: ...

    @property
    def source(self) -> str:
        """What the data set is called in messages."""

    @property
    def scores_last_frame(self) -> bool:
        """Whether the last annotated frame counts; DAVIS leaves it out."""

    def open_results(self, folder: str) -> VosResults: ...


def scored_frames(sequence: VosSequence, scores_last_frame: bool) -> dict[str, list[int]]:
    """The annotated frames that count: frame -> the objects scored in it.

    An object is scored from the annotated frame after its first one, which was given: without the first and the last
    frame for DAVIS, whose objects are all in the first.
    """
    annotated = list(sequence.annotations)
    counting = annotated if scores_last_frame else annotated[:-1]
    start = {number: annotated.index(first) for number, first in sequence.objects.items()}
    frames = {frame: [n for n, first in start.items() if first < i] for i, frame in enumerate(counting)}
    return {frame: objects for frame, objects in frames.items() if objects}


def plan_scoring(data: VosData) -> Plan:
    """What is scored in each sequence, in the data set's order; those without an object are left out, with a warning.

    Raises:
        ValueError: if sequences are too short to be scored (all are named), or nothing is left.
    """
    if not data.scores_last_frame:
        short = [f"{s.name} ({len(s.annotations)})" for s in data.sequences if len(s.annotations) < 3]
        if short:
            raise ValueError(
                f"{data.source}: {counted(len(short), 'sequence')} of fewer than 3 annotated frames: {few(short)}; the "
                "first and the last frame do not count, so nothing is left to score: complete the annotations, or "
                "leave these sequences out"
            )
    plan = {s.name: scored_frames(s, data.scores_last_frame) for s in data.sequences}
    empty = [s.name for s in data.sequences if not s.objects]
    scored = {name: set().union(*frames.values()) for name, frames in plan.items()}
    unscored = [f"{s.name}_{n}" for s in data.sequences for n in s.objects if n not in scored[s.name]]
    if not any(plan.values()):
        raise ValueError(
            f"{data.source}: nothing to score in {counted(len(plan), 'sequence')}: no object is annotated in a frame "
            "after its first one; is this the ground truth, or only the first masks that are public?"
        )
    if empty:
        logger.warning(
            "%s without an object in the first mask: left out: %s", counted(len(empty), "sequence"), few(empty)
        )
    if unscored:
        logger.warning(
            "%s not annotated after the first frame: left out: %s", counted(len(unscored), "object"), few(unscored)
        )
    return {name: frames for name, frames in plan.items() if frames}


def score_frame(
    truth: np.ndarray, prediction: np.ndarray, scored: Sequence[int], known: Collection[int], name: str
) -> np.ndarray:
    """J and F of objects in one frame.

    Args:
        truth: H x W uint8; 255, which belongs to nothing, is background as in DAVIS's semi-supervised evaluation.
        prediction: H x W object numbers, 0 is background.
        scored: N objects.
        known: all objects of the sequence.
        name: of the prediction, for messages.

    Returns:
        N x 2 float64.

    Raises:
        ValueError: if the prediction has another size, or objects that the sequence has not.
    """
    if prediction.shape != truth.shape:
        sizes = [" x ".join(map(str, shape[::-1])) for shape in (prediction.shape, truth.shape)]
        raise ValueError(f"{name} is {sizes[0]} but its annotation {sizes[1]}; save masks at the annotations' size")
    if prediction.max(initial=0) > 255 or prediction.min(initial=0) < 0:
        raise ValueError(f"{name} has object numbers beyond 0 to 255; number the objects as in the annotations")
    labels = prediction.astype(np.uint8, copy=False)
    allowed = np.zeros(256, dtype=bool)
    allowed[[0, *known]] = True
    if not allowed[labels].all():
        raise ValueError(
            f"{name} has the objects {few([str(n) for n in np.unique(labels[~allowed[labels]])])}, but the annotations "
            f"have only {few([str(n) for n in sorted(known)]) or 'none'}; a mask must hold the numbers of the "
            "annotated objects (0 background), not 255, probabilities or another sequence's objects"
        )
    pairs = ((truth == number, labels == number) for number in scored)
    return np.array([(region_similarity(t, p), contour_accuracy(t, p)) for t, p in pairs])
