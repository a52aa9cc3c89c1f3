"""Identity metrics: IDF1, IDP, IDR (Ristani et al., ECCV workshops 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pe_dense.evaluation.mot.compared import ComparedSequence


@dataclass(frozen=True)
class IdentityCounts:
    """Objects with the right identity, missed and wrong ones, of one or more sequences."""

    tp: int
    fn: int
    fp: int

    @classmethod
    def of(cls, compared: ComparedSequence, threshold: float = 0.5) -> IdentityCounts:
        """Sums of one sequence.

        A matching of whole tracks that makes IDFN + IDFP least makes the number of matched objects largest, because
        every matched object lowers both by one: the assignment needs no rows for unmatched tracks.
        """
        width = len(compared.result_lengths)
        shape = (len(compared.truth_lengths), width)
        keys = [np.zeros(0, dtype=np.int64)]
        for truth, results, similarity in zip(compared.truth_ids, compared.result_ids, compared.similarities):
            rows, columns = np.nonzero(similarity >= threshold)
            keys.append(truth[rows] * width + results[columns])
        together = np.bincount(np.concatenate(keys), minlength=shape[0] * shape[1]).reshape(shape)
        together = together[together.any(axis=1)][:, together.any(axis=0)]
        tp = int(together[linear_sum_assignment(together, maximize=True)].sum())
        return cls(tp, compared.num_truth - tp, compared.num_results - tp)

    @classmethod
    def combine(cls, parts: Sequence[IdentityCounts]) -> IdentityCounts:
        """Sums over sequences."""
        return cls(sum(p.tp for p in parts), sum(p.fn for p in parts), sum(p.fp for p in parts))

    def metrics(self) -> dict[str, float]:
        """Rates in [0, 1] and counts."""
        return {
            "IDF1": self.tp / max(1, self.tp + 0.5 * self.fp + 0.5 * self.fn),
            "IDR": self.tp / max(1, self.tp + self.fn),
            "IDP": self.tp / max(1, self.tp + self.fp),
            "IDTP": self.tp,
            "IDFN": self.fn,
            "IDFP": self.fp,
        }
