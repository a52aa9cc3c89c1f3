"""CLEAR MOT: MOTA, MOTP and their companions (Bernardin and Stiefelhagen, EURASIP JIVP 2008)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from pe_dense.evaluation.mot.compared import ComparedSequence
from pe_dense.evaluation.mot.similarity import match_above

_CONTINUITY = 1000  # outweighs every sum of similarities: a pair of the frame before stays together
_RATES = ("MOTA", "MOTP", "MODA", "CLR_Re", "CLR_Pr", "MTR", "PTR", "MLR", "sMOTA", "CLR_F1", "FP_per_frame", "MOTAL")


@dataclass(frozen=True)
class ClearCounts:
    """Sums of one or more sequences.

    Attributes:
        tp, fn, fp: matched, missed and wrong objects.
        switches: matches of a track of the ground truth with another id than at its last match.
        mostly, partly, lost: tracks of the ground truth matched in more than 80%, in 20% to 80%, and in less of their
            frames.
        fragments: how often a track is matched again after a frame with objects in which it was not.
        similarity: sum over the matched pairs.
        frames: number of frames.
        one_sided: whether this is one sequence without objects on a side.
    """

    tp: int = 0
    fn: int = 0
    fp: int = 0
    switches: int = 0
    mostly: int = 0
    partly: int = 0
    lost: int = 0
    fragments: int = 0
    similarity: float = 0.0
    frames: int = 0
    one_sided: bool = False

    @classmethod
    def of(cls, compared: ComparedSequence, threshold: float = 0.5) -> ClearCounts:
        """Sums of one sequence.

        As in TrackEval, the frames of a sequence without objects on one side are not counted.
        """
        truth, results = compared.num_truth, compared.num_results
        if not truth or not results:
            return cls(fn=truth, fp=results, lost=len(compared.truth_lengths) if not results else 0, one_sided=True)
        count = len(compared.truth_lengths)
        matched, pieces = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        last, before = np.full(count, -1), np.full(count, -1)  # ids ever matched and matched in the frame before
        switches, similarity_sum = 0, 0.0
        for truth_ids, result_ids, similarity in zip(compared.truth_ids, compared.result_ids, compared.similarities):
            if not similarity.size:
                continue  # and `before` stays: a frame without objects on a side does not part a pair
            scores = _CONTINUITY * (result_ids == before[truth_ids][:, None]) + similarity
            rows, columns = match_above(scores, similarity, threshold)
            ids, partners = truth_ids[rows], result_ids[columns]
            earlier = last[ids]
            switches += int(((earlier >= 0) & (earlier != partners)).sum())
            matched[ids] += 1
            pieces[ids] += before[ids] < 0
            last[ids] = partners
            before.fill(-1)
            before[ids] = partners
            similarity_sum += float(similarity[rows, columns].sum())
        share = matched / compared.truth_lengths
        tp, mostly = int(matched.sum()), int((share > 0.8).sum())
        partly = int((share >= 0.2).sum()) - mostly
        return cls(
            tp, truth - tp, results - tp, switches, mostly, partly, count - mostly - partly,
            int((pieces[pieces > 0] - 1).sum()), similarity_sum, compared.num_frames,
        )  # fmt: skip

    @classmethod
    def combine(cls, parts: Sequence[ClearCounts]) -> ClearCounts:
        """Sums over sequences."""
        names = [f.name for f in fields(cls) if f.name != "one_sided"]
        return cls(**{name: sum(getattr(p, name) for p in parts) for name in names})

    def metrics(self) -> dict[str, float]:
        """Rates (at most 1; MOTA and the like may be negative) and counts.

        As in TrackEval, of one sequence without objects on a side all rates are 0 and MLR is 1.
        """
        objects, tracks = max(1, self.tp + self.fn), max(1, self.mostly + self.partly + self.lost)
        logarithm = math.log10(self.switches) if self.switches else 0.0
        values = {
            "MOTA": (self.tp - self.fp - self.switches) / objects,
            "MOTP": self.similarity / max(1, self.tp),
            "MODA": (self.tp - self.fp) / objects,
            "CLR_Re": self.tp / objects,
            "CLR_Pr": self.tp / max(1, self.tp + self.fp),
            "MTR": self.mostly / tracks,
            "PTR": self.partly / tracks,
            "MLR": self.lost / tracks,
            "sMOTA": (self.similarity - self.fp - self.switches) / objects,
            "CLR_F1": self.tp / max(1, self.tp + 0.5 * self.fn + 0.5 * self.fp),
            "FP_per_frame": self.fp / max(1, self.frames),
            "MOTAL": (self.tp - self.fp - logarithm) / objects,
        }
        if self.one_sided:
            values = {**dict.fromkeys(_RATES, 0.0), "MLR": 1.0}
        return {
            **values, "MOTP_sum": self.similarity, "CLR_TP": self.tp, "CLR_FN": self.fn, "CLR_FP": self.fp,
            "IDSW": self.switches, "MT": self.mostly, "PT": self.partly, "ML": self.lost, "Frag": self.fragments,
            "CLR_Frames": self.frames,
        }  # fmt: skip
