"""All metrics of sequences and of a whole benchmark."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from pe_dense.evaluation.mot.clear import ClearCounts
from pe_dense.evaluation.mot.compared import ComparedSequence
from pe_dense.evaluation.mot.hota import HotaCounts
from pe_dense.evaluation.mot.identity import IdentityCounts
from pe_dense.evaluation.mot.protocols import TrackingProtocol
from pe_dense.structures import Tracks

logger = logging.getLogger(__name__)

COMBINED = "COMBINED"
"""Name of the row over all sequences."""


class TrackingCase(Protocol):
    """A sequence with its results, read only when its turn comes."""

    @property
    def name(self) -> str:
        """The sequence's name."""
        ...

    def load(self) -> tuple[Tracks, Tracks, int]:
        """Ground truth and results, both with rows by frame, and the number of frames."""
        ...


@dataclass(frozen=True)
class TrackingScores:
    """Sums from which all metrics follow, of one sequence or of several.

    Attributes:
        hota, clear, identity: the three families.
        objects, tracks: of the results; ``truth_objects``, ``truth_tracks``: of the ground truth.
    """

    hota: HotaCounts
    clear: ClearCounts
    identity: IdentityCounts
    objects: int
    tracks: int
    truth_objects: int
    truth_tracks: int

    @classmethod
    def of(cls, compared: ComparedSequence) -> TrackingScores:
        """Scores of one pre-processed sequence."""
        return cls(
            HotaCounts.of(compared), ClearCounts.of(compared), IdentityCounts.of(compared), compared.num_results,
            len(compared.result_lengths), compared.num_truth, len(compared.truth_lengths),
        )  # fmt: skip

    @classmethod
    def combine(cls, parts: Sequence[TrackingScores]) -> TrackingScores:
        """Scores over several sequences: sums of the counts, not means of the metrics."""
        return cls(
            HotaCounts.combine([p.hota for p in parts]),
            ClearCounts.combine([p.clear for p in parts]),
            IdentityCounts.combine([p.identity for p in parts]),
            *(sum(getattr(p, name) for p in parts) for name in ("objects", "tracks", "truth_objects", "truth_tracks")),
        )

    def metrics(self) -> dict[str, float]:
        """Every metric by TrackEval's name; rates are fractions, not percentages."""
        counts = {"Dets": self.objects, "GT_Dets": self.truth_objects, "IDs": self.tracks, "GT_IDs": self.truth_tracks}
        return {**self.hota.metrics(), **self.clear.metrics(), **self.identity.metrics(), **counts}

    def curves(self) -> dict[str, np.ndarray]:
        """HOTA and its parts at each of the 19 similarity thresholds."""
        return self.hota.curves()


ScoreTable = dict[str, dict[str, TrackingScores]]
"""Class -> sequence -> scores; the last sequence of each class is :data:`COMBINED`."""


def score_sequence(
    truth: Tracks, results: Tracks, num_frames: int, protocol: TrackingProtocol, name: str = "the sequence"
) -> dict[str, TrackingScores]:
    """Scores of one sequence in memory, for each class of the protocol.

    Args:
        truth, results: rows in any order.
        num_frames: of the sequence.
        protocol: what to leave out.
        name: of the sequence, for messages.

    Raises:
        ValueError: if frames or ids of an object are impossible, or the ground truth is not of this benchmark.
    """
    for side, what in ((truth, "ground truth"), (results, "results")):
        _require_sound(side, num_frames, f"{name}: {what}")
    try:
        compared = protocol.compare(truth.sorted(), results.sorted(), num_frames)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    for label, part in compared.items():
        if part.num_truth and part.num_results and not any(s.any() for s in part.similarities):
            logger.warning("%s: no %s of the results touches any of the ground truth; are they of another sequence?",
                           name, label)  # fmt: skip
    return {label: TrackingScores.of(part) for label, part in compared.items()}


def _require_sound(tracks: Tracks, num_frames: int, what: str) -> None:
    if len(tracks) and not 0 <= tracks.frames.min() <= tracks.frames.max() < num_frames:
        wrong = tracks.frames[(tracks.frames < 0) | (tracks.frames >= num_frames)][0]
        raise ValueError(f"{what} has an object in frame {wrong} (from 0), but there are {num_frames} frames")
    if ((tracks.ids < 0) & ~tracks.ignored).any():
        raise ValueError(f"{what} has objects without an id; detections must be tracked first")
    order = np.lexsort((tracks.ids, tracks.frames, tracks.classes))
    keys = np.stack([tracks.classes, tracks.frames, tracks.ids])[:, order]
    twice = (keys[:, 1:] == keys[:, :-1]).all(axis=0) & (keys[2, 1:] >= 0)
    if twice.any():
        _, frame, number = keys[:, int(np.argmax(twice))].tolist()
        raise ValueError(f"{what} has the id {number} twice in frame {frame} (from 0); an object has one row a frame")
    sizes = tracks.boxes[:, 2:] - tracks.boxes[:, :2]
    if not np.isfinite(tracks.boxes).all() or (sizes < 0).any():
        raise ValueError(f"{what} has boxes that are not finite or of negative size; remove them")


def evaluate_tracking(cases: Iterable[TrackingCase], protocol: TrackingProtocol, workers: int = 1) -> ScoreTable:
    """Scores of all sequences and of all together.

    Args:
        cases: sequences with results; their names are distinct.
        protocol: what to leave out, and of which classes.
        workers: processes that share the sequences; 1 works in this one.

    Raises:
        FileNotFoundError, ValueError: what reading or comparing the first wrong sequence raises.
    """
    todo = list(cases)
    if not todo:
        raise ValueError("there is no sequence to evaluate; check the data set and the chosen names")
    score = partial(_score_case, protocol=protocol)
    if workers > 1 and len(todo) > 1:
        # a copy of this process is ready at once; a new one would have to import everything
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        with ProcessPoolExecutor(min(workers, len(todo)), mp_context=context) as pool:
            done = list(pool.map(score, todo))
    else:
        done = [score(case) for case in todo]
    table: ScoreTable = {}
    for case, result in zip(todo, done):
        if isinstance(result, Exception):
            raise result
        for label, scores in result.items():
            table.setdefault(label, {})[case.name] = scores
    for rows in table.values():
        rows[COMBINED] = TrackingScores.combine(list(rows.values()))
    return table


def _score_case(case: TrackingCase, protocol: TrackingProtocol) -> dict[str, TrackingScores] | Exception:
    """What is wrong with the user's files is returned: raised in another process it would lose its origin."""
    try:
        truth, results, num_frames = case.load()
        return score_sequence(truth, results, num_frames, protocol, f"sequence {case.name}")
    except (ValueError, OSError) as error:
        return error
