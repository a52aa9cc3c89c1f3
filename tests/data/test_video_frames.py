"""Frames of videos for evaluation, and clips of them for training."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pe_dense.data import (
    ColorJitter,
    DataError,
    LargeScaleJitter,
    RandomFlip,
    VideoFolder,
    VideoFrames,
    YouTubeVOS,
    build_clip_loader,
    build_test_loader,
    write_indexed_png,
)
from pe_dense.data.sampler import shard_clips


def write_set(root: Path, lengths: dict[str, int], size: tuple[int, int] = (24, 36), every: int = 1) -> None:
    """Videos whose pixels' red is their mask's number times 50; frame t has a 9 x 9 square 1 at column t, and from
    frame 2 on a square 2. Every so many frames are annotated."""
    for name, frames in lengths.items():
        for t in range(frames):
            ids = np.zeros(size, np.uint8)
            ids[2:11, t : t + 9] = 1
            if t >= 2:
                ids[13:22, t : t + 9] = 2
            image = np.stack([ids * 50, np.full_like(ids, 10 * t), np.full_like(ids, 7)], -1)
            (root / "JPEGImages" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "JPEGImages" / name / f"{t}.png"), image[..., ::-1])
            if t % every == 0:
                write_indexed_png(root / "Annotations" / name / f"{t}.png", ids)


def folder(root: Path) -> VideoFolder:
    return VideoFolder(root / "Annotations", root / "JPEGImages")


def test_frames_come_with_what_a_tracker_is_given(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": 3, "b": 11}, every=2)
    frames = VideoFrames(YouTubeVOS(tmp_path))
    samples = [sample for batch in build_test_loader(frames, [], num_workers=0) for sample in batch]
    assert [(s["sequence"], s["frame"]) for s in samples] == [("a", str(t)) for t in range(3)] + [
        ("b", str(t)) for t in range(11)
    ]
    assert [s["begins"] for s in samples] == [t in (0, 3) for t in range(14)]
    assert frames.clip_bounds.tolist() == [0, 3, 14]
    given = {i: np.unique(s["object_ids"]).tolist() for i, s in enumerate(samples) if "object_ids" in s}
    assert given == {0: [0, 1], 2: [0, 2], 3: [0, 1], 5: [0, 2]}  # of each object once, when it appears
    assert samples[12]["file_name"] == str(tmp_path / "JPEGImages/b/9.png")
    assert samples[12]["image"][1].unique().item() == 90


def test_clips(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": 5, "b": 12})
    transforms = [RandomFlip(), LargeScaleJitter((24, 36), 1.0, 2.0), ColorJitter(brightness=0.2)]
    frames = VideoFrames(folder(tmp_path))
    loader = build_clip_loader(frames, transforms, batch_size=6, clip_length=3, max_gap=2, num_workers=0, seed=5)
    assert loader.steps_per_epoch == pytest.approx(17 / 6)
    batches = loader.iterate(0)
    references, views = [], set()
    for step in range(17):
        batch = next(batches)
        assert [s["clip"] for s in batch] == [2 * step] * 3 + [2 * step + 1] * 3
        for clip in (batch[:3], batch[3:]):
            assert len({(s["sequence"], s["image"].shape) for s in clip}) == 1
            numbers = [int(s["frame"]) for s in clip]
            assert len(set(numbers)) == 3
            assert max(abs(n - numbers[0]) for n in numbers) <= 2
            references.append((clip[0]["sequence"], numbers[0]))
            for s in clip:  # pixels and masks went through the same view
                inside = s["object_ids"] != 255
                red = (s["image"][0].float() / max(1, s["image"][2].max()) * 7 / 50).round()
                assert ((red == s["object_ids"]) | ~inside).float().mean() > 0.9
            blue = {int(s["image"][2].max()) for s in clip}
            assert len(blue) == 1  # and their brightness was changed alike
            views |= blue
    every = {("a", t) for t in range(5)} | {("b", t) for t in range(12)}
    assert set(references[:17]) == set(references[17:]) == every
    assert len(views) > 1


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": 6, "b": 6})
    frames = VideoFrames(folder(tmp_path))
    make = lambda seed, workers=0: build_clip_loader(frames, [RandomFlip()], 8, 4, 3, workers, seed)
    later, first = next(make(1).iterate(3)), make(1).iterate(0)
    for _ in range(3):
        next(first)
    for other in (next(first), next(make(1, workers=1).iterate(3))):
        assert [s["image_id"] for s in other] == [s["image_id"] for s in later]
        assert all(torch.equal(a[k], b[k]) for a, b in zip(other, later) for k in ("image", "object_ids"))
    assert [s["image_id"] for s in next(make(2).iterate(3))] != [s["image_id"] for s in later]


def test_only_annotated_frames_are_learnt_from(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": 11}, every=5)
    loader = build_clip_loader(VideoFrames(folder(tmp_path)), [], 4, clip_length=4, max_gap=5, num_workers=0)
    seen = {s["frame"] for _, batch in zip(range(6), loader.iterate(0)) for s in batch}
    assert seen == {"0", "5", "10"}  # frames are seen twice in a clip where there are too few
    with pytest.raises(DataError, match="no two annotated frames of a video lie at most 4 apart"):
        build_clip_loader(VideoFrames(folder(tmp_path)), [], 4, clip_length=4, max_gap=4, num_workers=0)


def test_a_process_gets_whole_videos() -> None:
    bounds = np.array([0, 10, 12, 40, 41, 60])
    for processes in (1, 2, 3, 7):
        shares = [shard_clips(bounds, rank, processes) for rank in range(processes)]
        assert [i for share in shares for i in share] == list(range(60))
        assert all({share.start, share.stop} <= set(bounds.tolist()) for share in shares)


def test_bad_input(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": 4})
    with pytest.raises(DataError, match="1 sequence without images, only masks: a"):
        VideoFrames(VideoFolder(tmp_path / "Annotations"))
    frames = VideoFrames(folder(tmp_path))
    for changes, message in (
        ({"batch_size": 6, "clip_length": 4}, "come in clips of 4: it must be a positive multiple of 4"),
        ({"batch_size": 4, "clip_length": 1}, "clip_length must be at least 2, it is 1"),
        ({"batch_size": 4, "max_gap": 0}, "max_gap must be at least 1, it is 0"),
        ({"batch_size": 4, "num_workers": -1}, "num_workers -1 is negative"),
    ):
        with pytest.raises(ValueError, match=message):
            build_clip_loader(frames, [], **changes)
    write_indexed_png(tmp_path / "Annotations/a/0.png", np.ones((5, 5), np.uint8))
    with pytest.raises(DataError, match=r"0\.png is 5 x 5 but its image 36 x 24"):
        frames[0]
    with pytest.raises(DataError, match=r"0\.png is 5 x 5 but its image 36 x 24"):
        next(build_clip_loader(frames, [], 16, 4, num_workers=0).iterate(0))
    write_set(tmp_path, {"a": 2}, size=(30, 40))
    loader = build_clip_loader(VideoFrames(folder(tmp_path)), [], 16, 4, num_workers=0)
    with pytest.raises(DataError, match=r"has another size than frame . of its video"):
        next(loader.iterate(0))
