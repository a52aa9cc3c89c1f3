"""Pairs of frames: what is in them, and that they follow from the seed and the step alone."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from pe_dense.data import DataError, MotFrames, build_pair_loader
from pe_dense.data.frame_pairs import FramePairs
from pe_dense.data.mot import Clip, TrackedFrames
from pe_dense.data.transforms import RandomFlip
from pe_dense.structures import Tracks

from .mot.test_frames import write_clip

SEEN = ["ab", "a", "bc", "", "c", "a"]  # objects of each frame


def frames(*clips: list[str]) -> TrackedFrames:
    """Without images."""
    made = []
    for number, seen in enumerate(clips):
        rows = [(frame, "abc".index(name)) for frame, names in enumerate(seen) for name in names]
        objects = Tracks.create([f for f, _ in rows], np.tile([0, 0, 9, 9], (len(rows), 1)), [i for _, i in rows])
        made.append(Clip(f"clip{number}", tuple(Path(f"{i}.png") for i in range(len(seen))), 30.0, objects))
    return TrackedFrames(made, "toys")


def test_partners_share_an_object_nearby_in_the_same_clip() -> None:
    data = frames(SEEN, SEEN[:2])
    pairs = FramePairs(data, max_gap=2)
    assert [pairs.partners(i) for i in range(len(data))] == [[1, 2], [0], [0, 4], [], [2], [], [7], [6]]
    assert pairs.keys.tolist() == [0, 1, 2, 4, 6, 7]
    assert FramePairs(data, max_gap=99).partners(5) == [0, 1]


@pytest.fixture
def data(tmp_path: Path) -> TrackedFrames:
    for clip in "ab":
        rows = [f"{f},{i},{5 + 3 * f},{4 * i},12,12,1,1,1\n" for f in range(1, 6) for i in range(1, 4) if (f + i) % 3]
        write_clip(tmp_path / clip, "".join(rows), 5)
    return MotFrames(tmp_path)


def test_batches_are_pairs_with_common_ids(data: TrackedFrames) -> None:
    loader = build_pair_loader(data, [RandomFlip()], batch_size=4, max_gap=2, num_workers=0, seed=3)
    assert loader.steps_per_epoch == 10 / 4
    keys, gaps = set(), set()
    for batch in itertools.islice(loader.iterate(), 5):
        assert len(batch) == 4
        for first, second in zip(batch[::2], batch[1::2]):
            assert first["sequence"] == second["sequence"]
            gap = abs(first["frame"] - second["frame"])
            gaps.add(gap)
            keys.add(first["image_id"])
            ids = [set(s["instances"].track_ids.tolist()) for s in (first, second)]
            assert ids[0] & ids[1]
    assert gaps == {1, 2}
    assert keys == set(range(10))  # each frame was the first of a pair once


def same(first: list[dict], second: list[dict]) -> bool:
    return all(
        a["file_name"] == b["file_name"] and bool((a["image"] == b["image"]).all())
        and a["instances"].boxes.tolist() == b["instances"].boxes.tolist()
        for a, b in zip(first, second, strict=True)
    )  # fmt: skip


def test_a_step_needs_no_history_and_no_workers(data: TrackedFrames) -> None:
    make = lambda workers, seed=5: build_pair_loader(data, [RandomFlip()], 4, 3, workers, seed)
    whole = list(itertools.islice(make(0).iterate(), 12))
    resumed = list(itertools.islice(make(1).iterate(7), 5))
    assert all(same(a, b) for a, b in zip(whole[7:], resumed, strict=True))
    other = list(itertools.islice(make(0, 6).iterate(), 12))
    assert not all(same(a, b) for a, b in zip(whole, other, strict=True))


def test_processes_share_each_batch(data: TrackedFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = next(build_pair_loader(data, [], 8, 3, 0, 1).iterate(4))
    parts = []
    for rank in range(2):
        monkeypatch.setattr("pe_dense.data.frame_groups.rank_and_world_size", lambda rank=rank: (rank, 2))
        parts += next(build_pair_loader(data, [], 8, 3, 0, 1).iterate(4))
        with pytest.raises(ValueError, match=r"batch_size 6 .* positive multiple of 4, twice the number of processes"):
            build_pair_loader(data, [], 6, 3, 0, 1)
    assert same(whole, parts)


def test_unusable_settings_and_data() -> None:
    with pytest.raises(ValueError, match=r"batch_size 3 .* come in pairs"):
        build_pair_loader(frames(SEEN), [], batch_size=3)
    with pytest.raises(ValueError, match="max_gap must be at least 1"):
        build_pair_loader(frames(SEEN), [], batch_size=2, max_gap=0)
    # clips of one frame each, and a clip whose frames have nothing in common
    for clips in ([["ab"], ["ab"]], [["a", "b", "c"]]):
        with pytest.raises(DataError, match=r"toys: no two frames of a sequence show the same object within max_gap=9"):
            build_pair_loader(frames(*clips), [], batch_size=2, max_gap=9)
    # beside another clip they are only left out
    assert FramePairs(frames(["ab"], ["a", "ab"]), 9).keys.tolist() == [1, 2]
