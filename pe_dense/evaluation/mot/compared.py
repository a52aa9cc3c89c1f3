"""A sequence after pre-processing: what all metrics look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ComparedSequence:
    """Objects of both sides, frame by frame, with ids numbered from 0 without gaps.

    Attributes:
        truth_ids: for each of the T frames G_t int64.
        result_ids: for each frame K_t int64.
        similarities: for each frame G_t x K_t float64 in [0, 1].
        truth_lengths, result_lengths: objects of each id.
    """

    truth_ids: Sequence[np.ndarray]
    result_ids: Sequence[np.ndarray]
    similarities: Sequence[np.ndarray]
    truth_lengths: np.ndarray
    result_lengths: np.ndarray

    @classmethod
    def create(
        cls, truth_ids: Sequence[np.ndarray], result_ids: Sequence[np.ndarray], similarities: Sequence[np.ndarray]
    ) -> ComparedSequence:
        """Number the ids of each side, which may be any integers, in their order."""
        truth, truth_lengths = _renumber(truth_ids)
        results, result_lengths = _renumber(result_ids)
        return cls(truth, results, similarities, truth_lengths, result_lengths)

    @property
    def num_frames(self) -> int:
        return len(self.similarities)

    @property
    def num_truth(self) -> int:
        """Objects of the ground truth."""
        return int(self.truth_lengths.sum())

    @property
    def num_results(self) -> int:
        """Objects of the results."""
        return int(self.result_lengths.sum())


def _renumber(ids: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    joined = np.concatenate([*ids, np.zeros(0, dtype=np.int64)])
    _, numbers, lengths = np.unique(joined, return_inverse=True, return_counts=True)
    return np.split(numbers, np.cumsum([len(part) for part in ids])[:-1]) if len(ids) else [], lengths
