"""The metrics by trying every matching, straight from their definitions, for a few objects a frame."""

from __future__ import annotations

from itertools import combinations, permutations

Frame = tuple[list[int], list[int], list[list[float]]]
"""Ids of the ground truth, ids of the results, similarities."""


def matchings(rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """Every matching, of any size."""
    return [
        list(zip(some, others))
        for size in range(min(rows, columns) + 1)
        for some in combinations(range(rows), size)
        for others in permutations(range(columns), size)
    ]


def iou(a: list[float], b: list[float]) -> float:
    """Of two XYXY boxes."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def lengths(frames: list[Frame], side: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for frame in frames:
        for track in frame[side]:
            counts[track] = counts.get(track, 0) + 1
    return counts


def hota(frames: list[Frame]) -> dict[str, float]:
    """Means over the thresholds."""
    truth, found = lengths(frames, 0), lengths(frames, 1)
    soft: dict[tuple[int, int], float] = {}
    for ids, others, s in frames:
        for i, g in enumerate(ids):
            for j, k in enumerate(others):
                rest = sum(s[i]) + sum(row[j] for row in s) - s[i][j]
                soft[g, k] = soft.get((g, k), 0) + (s[i][j] / rest if rest else 0)
    alignment = {(g, k): v / (truth[g] + found[k] - v) for (g, k), v in soft.items()}
    pairs = []
    for ids, others, s in frames:
        best = max(
            matchings(len(ids), len(others)),
            key=lambda m: sum(alignment[ids[i], others[j]] * s[i][j] for i, j in m),
        )
        pairs += [(ids[i], others[j], s[i][j]) for i, j in best]
    sums = dict.fromkeys(("HOTA", "DetA", "AssA", "LocA"), 0.0)
    for step in range(1, 20):
        kept = [p for p in pairs if p[2] >= step / 20]
        total = sum(truth.values()) + sum(found.values()) - len(kept)
        association = 0.0
        for g, k, _ in kept:
            together = sum(p[:2] == (g, k) for p in kept)
            association += together / (truth[g] + found[k] - together) / len(kept)
        sums["DetA"] += len(kept) / total / 19
        sums["AssA"] += association / 19
        sums["LocA"] += (sum(p[2] for p in kept) / len(kept) if kept else 1.0) / 19
        sums["HOTA"] += (len(kept) / total * association) ** 0.5 / 19
    return sums


def clear(frames: list[Frame]) -> dict[str, float]:
    """Counts and MOTA, MOTP."""
    last: dict[int, int] = {}
    before: dict[int, int] = {}
    seen: dict[int, int] = {}
    pieces: dict[int, int] = {}
    switches, similarity = 0, 0.0
    for ids, others, s in frames:
        if not ids or not others:
            continue
        allowed = [m for m in matchings(len(ids), len(others)) if all(s[i][j] >= 0.5 for i, j in m)]
        best = max(
            allowed,
            key=lambda m: (sum(before.get(ids[i]) == others[j] for i, j in m), sum(s[i][j] for i, j in m)),
        )
        now = {ids[i]: others[j] for i, j in best}
        for g, k in now.items():
            switches += last.get(g, k) != k
            pieces[g] = pieces.get(g, 0) + (g not in before)
            seen[g] = seen.get(g, 0) + 1
        similarity += sum(s[i][j] for i, j in best)
        last.update(now)
        before = now
    truth = lengths(frames, 0)
    tp, objects = sum(seen.values()), sum(truth.values())
    fp = sum(lengths(frames, 1).values()) - tp
    shares = [seen.get(g, 0) / n for g, n in truth.items()]
    return {
        "MOTA": (tp - fp - switches) / objects, "MOTP": similarity / max(1, tp), "CLR_TP": tp, "CLR_FP": fp,
        "CLR_FN": objects - tp, "IDSW": switches, "MT": sum(v > 0.8 for v in shares),
        "ML": sum(v < 0.2 for v in shares), "Frag": sum(n - 1 for n in pieces.values()),
    }  # fmt: skip


def identity(frames: list[Frame]) -> dict[str, float]:
    """The matching of tracks with the most objects in common."""
    truth, found = lengths(frames, 0), lengths(frames, 1)
    common: dict[tuple[int, int], int] = {}
    for ids, others, s in frames:
        for i, g in enumerate(ids):
            for j, k in enumerate(others):
                common[g, k] = common.get((g, k), 0) + (s[i][j] >= 0.5)
    rows, columns = list(truth), list(found)
    best = max(sum(common.get((rows[i], columns[j]), 0) for i, j in m) for m in matchings(len(rows), len(columns)))
    return {"IDTP": best, "IDF1": 2 * best / (sum(truth.values()) + sum(found.values()))}
