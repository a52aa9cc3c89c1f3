"""Whole data sets tracked: which files appear, resuming, several processes, scores and bad input."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pe_dense.config import LazyCall as L
from pe_dense.config import to_yaml
from pe_dense.data import (
    DAVIS2016,
    DataError,
    VideoFolder,
    YouTubeVOS,
    read_indexed_png,
    write_indexed_png,
)
from pe_dense.engine import RunDirectoryError
from pe_dense.modeling.backbone import EncoderFeatures, LayerFeatures, PerceptionEncoder
from pe_dense.modeling.tracking import LabelPropagation, VideoObjectTracker
from pe_dense.prediction import TrackerSource, track_set, track_sets


class Colors(nn.Module):
    """The colour of each patch of two pixels, beside a constant."""

    stride = 2

    def forward(self, images: torch.Tensor) -> list[LayerFeatures]:
        pooled = nn.functional.avg_pool2d(images, self.stride)
        return [LayerFeatures(torch.cat([pooled, torch.full_like(pooled[:, :1], 0.3)], 1), None)]


def source(**changes: object) -> TrackerSource:
    settings = L(LabelPropagation)(short_side=32, long_multiple=0, radius=4, **changes)
    tracker = L(VideoObjectTracker)(backbone=L(Colors)(), propagation=settings)
    return TrackerSource(to_yaml({"model": tracker}))


def ids_at(t: int, later: bool) -> np.ndarray:
    """Object 1 moves to the right; object 2 moves to the left, from frame 2 on if it comes later."""
    ids = np.zeros((32, 48), np.uint8)
    ids[4:14, 2 + 2 * t : 12 + 2 * t] = 1
    if t >= 2 or not later:
        ids[18:28, 34 - 2 * t : 44 - 2 * t] = 2
    return ids


def write_set(root: Path, lengths: dict[str, int], later: bool = False, annotated: int = 1, images: str = "JPEGImages",
              every: int = 1) -> None:  # fmt: skip
    colors = np.array([[30, 30, 30], [250, 40, 40], [40, 40, 250]], np.uint8)
    for name, frames in lengths.items():
        (root / images / name).mkdir(parents=True, exist_ok=True)
        for t in range(0, frames, every):
            cv2.imwrite(str(root / images / name / f"{t:05d}.png"), colors[ids_at(t, later)][..., ::-1])
            if t % annotated == 0:
                write_indexed_png(root / "Annotations" / name / f"{t:05d}.png", ids_at(t, later))


def folder(root: Path) -> VideoFolder:
    return VideoFolder(root / "Annotations", root / "JPEGImages")


def files(root: Path) -> list[str]:
    return sorted(str(f.relative_to(root)) for f in root.rglob("*") if f.is_file())


def test_a_folder_is_tracked_scored_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_set(tmp_path, {"a": 5, "b": 4})
    out = tmp_path / "out"
    done = track_set(source(), folder(tmp_path), out, "cpu")
    assert (done.tracked, done.kept, done.masks) == (["a", "b"], [], out / "masks")
    assert files(out / "masks") == [f"a/{t:05d}.png" for t in range(5)] + [f"b/{t:05d}.png" for t in range(4)]
    assert (read_indexed_png(out / "masks/a/00003.png") == ids_at(3, False)).mean() > 0.98
    assert {one.name for one in done.scores} == {"a_1", "a_2", "b_1", "b_2"}
    assert min(one.values.min() for one in done.scores) > 0.8
    assert json.loads((out / "scores/vos.json").read_text())["metrics"]["vos/J"] > 80

    with pytest.raises(RunDirectoryError, match=r"results of 2 sequences: continue with --resume, replace them with"):
        track_set(source(), folder(tmp_path), out, "cpu")
    with pytest.raises(RunDirectoryError, match=r"otherwise.*propagation\.topk: not set -> 3"):
        track_set(source(topk=3), folder(tmp_path), out, "cpu", resume=True)

    (out / "masks/b/00002.png").unlink()  # an incomplete sequence is tracked again, a complete one is left alone
    before = (out / "masks/a/00001.png").stat().st_mtime_ns
    tracked = []
    original = track_sets.track_sequence
    monkeypatch.setattr(track_sets, "track_sequence",
                        lambda tracker, sequence, *rest: (tracked.append(sequence.name),
                                                          original(tracker, sequence, *rest)))  # fmt: skip
    again = track_set(source(), folder(tmp_path), out, "cpu", resume=True)
    assert (again.tracked, again.kept, tracked) == (["b"], ["a"], ["b"])
    assert (out / "masks/a/00001.png").stat().st_mtime_ns == before
    assert [one.statistics for one in again.scores] == [one.statistics for one in done.scores]

    redone = track_set(source(topk=3), folder(tmp_path), out, "cpu", overwrite=True)
    assert redone.tracked == ["a", "b"]
    assert json.loads((out / "tracked_with.json").read_text())["model"]["propagation"]["topk"] == 3


def test_objects_that_appear_later_and_frames_that_are_asked_for(tmp_path: Path) -> None:
    """YouTube-VOS: every frame is tracked, masks are written of the frames of the list, before an object none of it."""
    root = tmp_path / "valid"
    write_set(root, {"a": 9}, later=True, annotated=2, every=2)
    write_set(tmp_path / "all", {"a": 9}, later=True)
    for t in (4, 6, 8):
        (root / f"Annotations/a/{t:05d}.png").unlink()
    meta = {"videos": {"a": {"objects": {"1": {"category": "x", "frames": ["00000", "00002", "00004", "00008"]},
                                         "2": {"category": "y", "frames": ["00002", "00004"]}}}}}  # fmt: skip
    videos = lambda: YouTubeVOS(root, images=tmp_path / "all" / "JPEGImages")
    assert videos()[0].wanted == tuple(f"{t:05d}" for t in (0, 2, 4, 6, 8))  # those of valid/JPEGImages
    (root / "meta.json").write_text(json.dumps(meta))
    assert len(videos()[0].frames) == 9
    done = track_set(source(), videos(), tmp_path / "out", "cpu")
    assert files(done.masks) == [f"a/{t:05d}.png" for t in (0, 2, 4, 8)]
    for t in (0, 2, 4, 8):
        found = read_indexed_png(done.masks / f"a/{t:05d}.png")
        assert (found == ids_at(t, True)).mean() > 0.97
        assert set(np.unique(found)) == ({0, 1} if t == 0 else {0, 1, 2})
    assert done.scores == []  # only first masks are public
    assert not (tmp_path / "out/scores").exists()
    meta["videos"]["a"]["objects"]["1"]["frames"] += ["00005", "00099"]
    (root / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match=r"masks of 1 frame are asked for that have no image: a/00099"):
        track_set(source(), videos(), tmp_path / "out2", "cpu")


def test_davis_2016_has_one_foreground_object(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": 4})
    for place in ("Annotations", "JPEGImages"):
        (tmp_path / "D" / place).mkdir(parents=True)
        (tmp_path / place).rename(tmp_path / "D" / place / "480p")
    for path in (tmp_path / "D/Annotations/480p/a").iterdir():
        cv2.imwrite(str(path), (read_indexed_png(path) > 0).astype(np.uint8) * 255)
    done = track_set(source(), DAVIS2016(tmp_path / "D", None), tmp_path / "out", "cpu")
    assert set(np.unique(read_indexed_png(done.masks / "a/00002.png"))) == {0, 1}
    assert [one.name for one in done.scores] == ["a_1"]


@pytest.mark.slow
def test_processes_write_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, {"a": 4, "b": 5, "c": 3})
    tower = L(PerceptionEncoder)(embed_dim=24, depth=1, num_heads=2, mlp_dim=48, patch_size=4, grid_size=8)
    tracker = L(VideoObjectTracker)(
        backbone=L(EncoderFeatures)(backbone=tower, layers=[0], trainable_blocks=0),
        propagation=L(LabelPropagation)(short_side=32, long_multiple=0),
    )
    random = TrackerSource(to_yaml({"model": tracker}), seed=7)
    whole = track_set(random, folder(tmp_path), tmp_path / "one", "cpu")
    (tmp_path / "JPEGImages/c/00001.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"00001\.png cannot be decoded.*; continue with --resume"):
        track_set(random, folder(tmp_path), tmp_path / "two", "cpu", workers=2)
    write_set(tmp_path, {"c": 3})
    shared = track_set(random, folder(tmp_path), tmp_path / "two", "cpu", workers=2, resume=True)
    assert (shared.tracked, shared.kept) == (["c"], ["a", "b"])
    assert "weights are random" not in capfd.readouterr().err  # of the processes: this one has said it
    assert files(whole.masks) == files(shared.masks)
    for name in files(whole.masks):
        assert (whole.masks / name).read_bytes() == (shared.masks / name).read_bytes()
    other = TrackerSource(to_yaml({"model": tracker}), seed=8)
    with pytest.raises(RunDirectoryError, match=r"weights \(digest\)"):
        track_set(other, folder(tmp_path), tmp_path / "two", "cpu", resume=True)


def test_messages_name_the_sequence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_set(tmp_path, {"a": 3})
    masks = ids_at(0, later=False)
    masks[2, 2] = 3
    write_indexed_png(tmp_path / "Annotations/a/00000.png", masks)
    track_set(source(), folder(tmp_path), tmp_path / "out", "cpu")
    assert "a: object 3 is too small for the grid of 16 x 24 features and not followed; set model.pro" in caplog.text


def test_what_is_wrong_with_one_sequence_keeps_no_other_from_being_done(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": 3, "b": 3, "c": 3})
    write_indexed_png(tmp_path / "Annotations/b/00000.png", np.ones((5, 5), np.uint8))
    (tmp_path / "JPEGImages/c/00002.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"sequence b, frame 00000: the masks are 5 x 5.*\(and 1 other sequence: c\)"):
        track_set(source(), folder(tmp_path), tmp_path / "out", "cpu")
    assert files(tmp_path / "out/masks") == [f"a/{t:05d}.png" for t in range(3)]
    write_set(tmp_path, {"b": 3, "c": 3})
    assert track_set(source(), folder(tmp_path), tmp_path / "out", "cpu", resume=True).tracked == ["b", "c"]
    assert len(files(tmp_path / "out/masks")) == 9


def test_bad_input(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_set(tmp_path, {"a": 3})
    with pytest.raises(DataError, match="1 sequence without images, only masks: a"):
        track_set(source(), VideoFolder(tmp_path / "Annotations"), tmp_path / "out", "cpu")
    with pytest.raises(ValueError, match="workers must be at least 1, it is 0"):
        track_set(source(), folder(tmp_path), tmp_path / "out", "cpu", workers=0)
    (tmp_path / "mine/masks/x").mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match=r"holds files of another program \(x\)"):
        track_set(source(), folder(tmp_path), tmp_path / "mine", "cpu", overwrite=True)
    assert (tmp_path / "mine/masks/x").is_dir()
    for t in range(3):
        write_indexed_png(tmp_path / f"Annotations/a/{t:05d}.png", np.zeros((32, 48), np.uint8))
    done = track_set(source(), folder(tmp_path), tmp_path / "empty", "cpu")
    assert "a: no object in its masks" in caplog.text
    assert not read_indexed_png(done.masks / "a/00002.png").any()
    assert done.scores == []
