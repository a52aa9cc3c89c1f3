"""Association of detections over time against Roboflow's ``trackers``, on the same detections."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from benchmarks.timing import Row, interleaved, ratio_row

from pe_dense.modeling.tracking.association import OCSORT, BoTSORT, ByteTrack, Tracker

OBJECTS, WIDTH, HEIGHT, EMBEDDING = 100, 1920, 1080, 128


def run(quick: bool) -> list[Row]:
    """Rows of the benchmark table; ``quick`` takes fewer frames and repeats."""
    frames, repeats = (100, 3) if quick else (300, 7)
    video, looks = moving_objects(frames)
    ours: dict[str, Callable[[], object]] = {
        "ByteTrack": lambda: follow(Tracker(ByteTrack()), video),
        "OC-SORT": lambda: follow(Tracker(OCSORT()), video),
        "BoT-SORT, with appearance": lambda: follow(Tracker(BoTSORT()), video, looks),
    }
    peer = _peer(video)
    if peer is None:
        sys.stderr.write("association: skipped, there is nothing to compare with: pip install trackers\n")
        return []
    seconds = interleaved({**ours, "trackers": peer}, repeats)
    rows = []
    for name in ours:
        ms, theirs = 1e3 * seconds[name] / frames, 1e3 * seconds["trackers"] / frames
        note = f"{1e3 / ms:,.0f} frames/s; theirs {1e3 / theirs:,.0f} frames/s"
        what = f"{name}: {OBJECTS} objects a frame, association alone, per frame"
        rows.append(ratio_row(what, "ByteTrack of Roboflow's trackers", ms, theirs, 2.0, "ms", note))
    return rows


def moving_objects(frames: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A crowd that walks through a 1920 x 1080 image.

    Returns:
        Per frame the detections (M x 5: x1, y1, x2, y2, score; M is about 100, of which a tenth scores low and a
        twentieth is missed) and their embeddings, M x 128.
    """
    rng = np.random.default_rng(seed)
    heights = rng.uniform(60, 220, OBJECTS)
    sides = np.stack([0.4 * heights, heights], axis=1)
    centres = rng.uniform((0, 0), (WIDTH, HEIGHT), (OBJECTS, 2))
    speeds = rng.normal(0, 3, (OBJECTS, 2))
    persons = rng.normal(size=(OBJECTS, EMBEDDING))
    video, looks = [], []
    for _ in range(frames):
        centres += speeds
        speeds = np.where((centres < 0) | (centres > (WIDTH, HEIGHT)), -speeds, speeds)
        noisy = centres + rng.normal(0, 1.5, centres.shape)
        scores = np.where(rng.random(OBJECTS) < 0.1, rng.uniform(0.15, 0.55, OBJECTS), rng.uniform(0.75, 1, OBJECTS))
        table = np.concatenate([noisy - sides / 2, noisy + sides / 2, scores[:, None]], axis=1)
        seen = rng.permutation(np.flatnonzero(rng.random(OBJECTS) < 0.95))
        video.append(table[seen])
        looks.append(persons[seen] + rng.normal(0, 0.3, (len(seen), EMBEDDING)))
    return video, looks


def follow(tracker: Tracker, video: Sequence[np.ndarray], looks: Sequence[np.ndarray] | None = None) -> int:
    """Track a video; returns how many boxes got an identity."""
    given = [None] * len(video) if looks is None else looks
    return sum(len(tracker.update(table, embeddings=e)) for table, e in zip(video, given))


def _peer(video: Sequence[np.ndarray]) -> Callable[[], object] | None:
    """Their ByteTrack on the same detections; None where the package is not installed."""
    try:
        import supervision
        from trackers import ByteTrackTracker
    except ImportError:
        return None
    tables: list[Any] = [supervision.Detections(xyxy=t[:, :4], confidence=t[:, 4]) for t in video]

    def track() -> int:
        tracker = ByteTrackTracker()
        return sum(int((tracker.update(table).tracker_id >= 0).sum()) for table in tables)

    return track
