"""What each benchmark leaves out before it counts, and of which classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from pycocotools import mask as coco_mask

from pe_dense.evaluation.mot.compared import ComparedSequence
from pe_dense.evaluation.mot.similarity import EPS, box_overlaps, mask_overlaps, match_above
from pe_dense.structures import Tracks

_THRESHOLD = 0.5
_MOT_CLASSES = 13
_KITTI_VAN, _KITTI_PERSON = 2, 5
_KITTI_MAX_OCCLUSION, _KITTI_MAX_TRUNCATION, _KITTI_MIN_HEIGHT = 2, 0, 25
_NO_MATCH = -10_000.0


class TrackingProtocol(Protocol):
    """Rules of a benchmark."""

    def compare(self, truth: Tracks, results: Tracks, num_frames: int) -> dict[str, ComparedSequence]:
        """Pre-process one sequence.

        Args:
            truth, results: rows by frame.
            num_frames: of the sequence.

        Returns:
            Name of a class -> what is compared.

        Raises:
            ValueError: if the ground truth is not of this benchmark.
        """
        ...


class _Frame(NamedTuple):
    """Rows of one frame: places of ground truth and results, and their similarity."""

    truth: np.ndarray
    results: np.ndarray
    similarity: np.ndarray


@dataclass(frozen=True)
class MotProtocol:
    """MOTChallenge's boxes of pedestrians (Milan et al., 2016; Dendorfer et al., 2020).

    Only pedestrians (class 1) that are not ``ignored`` count. A result that matches an object of the classes
    ``distractors`` at an IoU of 0.5 is left out; one on an ignored pedestrian or on any other class is an error.

    Attributes:
        distractors: class numbers, or ``None`` for a benchmark without classes: all that is not ``ignored`` counts.
    """

    distractors: tuple[int, ...] | None

    def compare(self, truth: Tracks, results: Tracks, num_frames: int) -> dict[str, ComparedSequence]:
        """See :class:`TrackingProtocol`; the class is "pedestrian"."""
        kept, removable = ~truth.ignored, np.zeros(len(truth), dtype=bool)
        if self.distractors is not None:
            if len(truth) and not 1 <= truth.classes.min() <= truth.classes.max() <= _MOT_CLASSES:
                wrong = truth.classes[(truth.classes < 1) | (truth.classes > _MOT_CLASSES)][0]
                raise ValueError(
                    f"the ground truth has the class {wrong}, but MOTChallenge has 1 to {_MOT_CLASSES}; choose the "
                    "protocol of MOT15 for files without classes"
                )
            kept &= truth.classes == 1
            removable = np.isin(truth.classes, self.distractors)
        frames = []
        for frame in _frames(truth, results, num_frames, box_overlaps):
            remaining = np.ones(len(frame.results), dtype=bool)
            if removable[frame.truth].any() and frame.similarity.size:
                rows, columns = match_above(frame.similarity, frame.similarity, _THRESHOLD)
                remaining[columns[removable[frame.truth][rows]]] = False
            frames.append(_keep(frame, kept[frame.truth], remaining))
        return {"pedestrian": _compared(frames, truth, results)}


MOT15 = MotProtocol(None)
MOT17 = MotProtocol((2, 7, 8, 12))
"""MOT16, MOT17, DanceTrack and SportsMOT: persons on vehicles, static persons, distractors and reflections."""
MOT20 = MotProtocol((2, 6, 7, 8, 12))
"""MOT20: also non-motorised vehicles."""


@dataclass(frozen=True)
class KittiProtocol:
    """KITTI's boxes (Geiger et al., 2012), as TrackEval counts them.

    A result that matches, at an IoU of 0.5, an object that is truncated, largely occluded (level above 2) or of the
    neighbouring class (van, sitting person) is left out; of those that match nothing also the ones of at most 25
    pixels' height, and with more than half of their area in a DontCare region.

    Attributes:
        classes: name -> (class number, neighbouring class number).
    """

    classes: Mapping[str, tuple[int, int]]

    def compare(self, truth: Tracks, results: Tracks, num_frames: int) -> dict[str, ComparedSequence]:
        """See :class:`TrackingProtocol`."""
        regions = truth[truth.ignored]
        return {
            name: self._compare(truth[np.isin(truth.classes, pair)], results[results.classes == pair[0]], regions,
                                num_frames, pair[0])
            for name, pair in self.classes.items()
        }  # fmt: skip

    @staticmethod
    def _compare(truth: Tracks, results: Tracks, regions: Tracks, num_frames: int, number: int) -> ComparedSequence:
        visible = (truth.occlusion <= _KITTI_MAX_OCCLUSION) & (truth.truncation <= _KITTI_MAX_TRUNCATION)
        kept = visible & (truth.classes == number)
        small = results.boxes[:, 3] - results.boxes[:, 1] <= _KITTI_MIN_HEIGHT + EPS
        region_at = regions.offsets(num_frames)
        frames = []
        for index, frame in enumerate(_frames(truth, results, num_frames, box_overlaps)):
            rows, columns = match_above(frame.similarity, frame.similarity, _THRESHOLD)
            areas = regions.boxes[region_at[index] : region_at[index + 1]]
            inside = box_overlaps(results.boxes[frame.results], areas, of_first=True) > 0.5 + EPS
            remaining = ~(small[frame.results] | inside.any(axis=1))
            remaining[columns] = kept[frame.truth][rows]
            frames.append(_keep(frame, kept[frame.truth], remaining))
        return _compared(frames, truth, results)


KITTI = KittiProtocol({"car": (1, _KITTI_VAN), "pedestrian": (4, _KITTI_PERSON)})


@dataclass(frozen=True)
class MotsProtocol:
    """Masks of MOTSChallenge and KITTI MOTS (Voigtlaender et al., CVPR 2019).

    Results that match nothing and have more than half of their area in ``ignored`` regions are left out.

    Attributes:
        classes: name -> class number.
    """

    classes: Mapping[str, int]

    def compare(self, truth: Tracks, results: Tracks, num_frames: int) -> dict[str, ComparedSequence]:
        """See :class:`TrackingProtocol`."""
        regions = truth[truth.ignored]
        return {
            name: self._compare(truth[truth.classes == number], results[results.classes == number], regions, num_frames)
            for name, number in self.classes.items()
        }

    @staticmethod
    def _compare(truth: Tracks, results: Tracks, regions: Tracks, num_frames: int) -> ComparedSequence:
        region_at = regions.offsets(num_frames)
        frames = []
        for index, frame in enumerate(_frames(truth, results, num_frames, mask_overlaps)):
            remaining = np.ones(len(frame.results), dtype=bool)
            if region_at[index] < region_at[index + 1]:
                _, columns = match_above(frame.similarity, frame.similarity, _THRESHOLD, _NO_MATCH)
                areas = _masks(regions)[region_at[index] : region_at[index + 1]]
                # regions do not overlap the objects but may overlap each other: joined they count once
                inside = _share_inside(_masks(results)[frame.results], areas) > 0.5 + EPS
                remaining = ~inside
                remaining[columns] = True
            frames.append(_keep(frame, np.ones(len(frame.truth), dtype=bool), remaining))
        return _compared(frames, truth, results)


MOTS = MotsProtocol({"pedestrian": 2})
KITTI_MOTS = MotsProtocol({"car": 1, "pedestrian": 2})


def _masks(tracks: Tracks) -> np.ndarray:
    if tracks.masks is None:
        raise ValueError(f"MOTS compares masks, but {tracks!r} has only boxes; choose the protocol of the files")
    return tracks.masks


def _share_inside(masks: np.ndarray, regions: np.ndarray) -> np.ndarray:
    joined = np.empty(1, dtype=object)
    joined[0] = coco_mask.merge(list(regions), intersect=False)
    return mask_overlaps(masks, joined, of_first=True)[:, 0]


def _frames(
    truth: Tracks, results: Tracks, num_frames: int, overlaps: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Iterator[_Frame]:
    first = _masks(truth) if overlaps is mask_overlaps else truth.boxes
    second = _masks(results) if overlaps is mask_overlaps else results.boxes
    truth_at, results_at = truth.offsets(num_frames).tolist(), results.offsets(num_frames).tolist()
    truth_rows, result_rows = np.arange(len(truth)), np.arange(len(results))
    for t in range(num_frames):
        here, there = slice(truth_at[t], truth_at[t + 1]), slice(results_at[t], results_at[t + 1])
        yield _Frame(truth_rows[here], result_rows[there], overlaps(first[here], second[there]))


def _keep(frame: _Frame, truth: np.ndarray, results: np.ndarray) -> _Frame:
    similarity = frame.similarity
    if not truth.all() or not results.all():
        similarity = similarity[truth][:, results]
    return _Frame(frame.truth[truth], frame.results[results], similarity)


def _compared(frames: list[_Frame], truth: Tracks, results: Tracks) -> ComparedSequence:
    return ComparedSequence.create(
        [truth.ids[f.truth] for f in frames], [results.ids[f.results] for f in frames], [f.similarity for f in frames]
    )
