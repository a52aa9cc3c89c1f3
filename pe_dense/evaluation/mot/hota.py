"""HOTA, higher order tracking accuracy (Luiten et al., IJCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import linear_sum_assignment

from pe_dense.evaluation.mot.compared import ComparedSequence
from pe_dense.evaluation.mot.similarity import EPS

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The 19 thresholds of the similarity."""


@dataclass(frozen=True)
class HotaCounts:
    """Sums of one or more sequences, each an array over the thresholds.

    Attributes:
        tp, fn, fp: matched, missed and wrong objects.
        similarity: sum over the matched pairs.
        association, recall, precision: sums over the matched pairs of TPA / (TPA + FNA + FPA), of
            TPA / (TPA + FNA) and of TPA / (TPA + FPA).
    """

    tp: np.ndarray
    fn: np.ndarray
    fp: np.ndarray
    similarity: np.ndarray
    association: np.ndarray
    recall: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, compared: ComparedSequence) -> HotaCounts:
        """Sums of one sequence."""
        truth, results, similarities = _matches(compared)
        kept = similarities >= ALPHAS[:, None] - EPS
        tp = kept.sum(axis=1).astype(np.float64)
        pairs, pair = np.unique(truth * max(1, len(compared.result_lengths)) + results, return_inverse=True)
        first, second = np.divmod(pairs, max(1, len(compared.result_lengths)))
        together = np.stack([np.bincount(pair[row], minlength=len(pairs)) for row in kept]).astype(np.float64)
        g, k = compared.truth_lengths[first], compared.result_lengths[second]
        return cls(
            tp=tp,
            fn=compared.num_truth - tp,
            fp=compared.num_results - tp,
            similarity=np.where(kept, similarities, 0).sum(axis=1),
            association=(together * together / (g + k - together)).sum(axis=1),
            recall=(together * together / g).sum(axis=1),
            precision=(together * together / k).sum(axis=1),
        )

    @classmethod
    def combine(cls, parts: Sequence[HotaCounts]) -> HotaCounts:
        """Sums over sequences."""
        return cls(**{f.name: np.sum([getattr(p, f.name) for p in parts], axis=0) for f in fields(cls)})

    def metrics(self) -> dict[str, float]:
        """Means over the thresholds (of rates in [0, 1], of counts), and three values at the first threshold, "(0)"."""
        curves = self.curves()
        means = {name: float(values.mean()) for name, values in curves.items()}
        first = {f"{name}(0)": float(curves[name][0]) for name in ("HOTA", "LocA")}
        return {**means, **first, "HOTALocA(0)": first["HOTA(0)"] * first["LocA(0)"]}

    def curves(self) -> dict[str, np.ndarray]:
        """Every metric at each of the :data:`ALPHAS`."""
        matched = np.maximum(1, self.tp)
        detection = self.tp / np.maximum(1, self.tp + self.fn + self.fp)
        recall = self.tp / np.maximum(1, self.tp + self.fn)
        association = self.association / matched
        return {
            "HOTA": np.sqrt(detection * association),
            "DetA": detection,
            "AssA": association,
            "DetRe": recall,
            "DetPr": self.tp / np.maximum(1, self.tp + self.fp),
            "AssRe": self.recall / matched,
            "AssPr": self.precision / matched,
            "LocA": np.maximum(1e-10, self.similarity) / np.maximum(1e-10, self.tp),
            "OWTA": np.sqrt(recall * association),
            "HOTA_TP": self.tp,
            "HOTA_FN": self.fn,
            "HOTA_FP": self.fp,
        }


def _matches(compared: ComparedSequence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids of both sides and the similarity of every pair that is matched, before any threshold.

    The matching of a frame maximises similarity x alignment of the two tracks, where the alignment is the share of
    their frames in which they are alike (section 4.3 of the paper).
    """
    alignment = _alignment(compared)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for truth, results, similarity in zip(compared.truth_ids, compared.result_ids, compared.similarities):
        if similarity.size:
            scores = alignment[truth[:, None], results] * similarity
            rows, columns = linear_sum_assignment(scores, maximize=True)
            found.append((truth[rows], results[columns], similarity[rows, columns]))
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    truths, others, values = (np.concatenate(part) for part in zip(*found))
    return truths, others, values


def _alignment(compared: ComparedSequence) -> np.ndarray:
    shared = np.zeros((len(compared.truth_lengths), len(compared.result_lengths)))
    for truth, results, similarity in zip(compared.truth_ids, compared.result_ids, compared.similarities):
        if similarity.size:
            others = similarity.sum(0)[None, :] + similarity.sum(1)[:, None] - similarity
            shared[truth[:, None], results] += np.divide(
                similarity, others, out=np.zeros_like(similarity), where=others > EPS
            )
    return shared / (compared.truth_lengths[:, None] + compared.result_lengths - shared)
