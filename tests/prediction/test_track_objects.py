"""Objects followed through files: a folder of frames, a video, masks of several frames, and bad input."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pe_dense.data import DataError, read_object_ids, write_indexed_png
from pe_dense.modeling.backbone import LayerFeatures
from pe_dense.modeling.tracking import LabelPropagation, VideoObjectTracker
from pe_dense.prediction import VideoReader, VideoWriter, draw_masks, track_video
from pe_dense.visualization.canvas import save_image

from .conftest import scene, write_image


class Colors(nn.Module):
    """The brightness of each patch of two pixels, beside a constant."""

    stride = 2

    def forward(self, images: torch.Tensor) -> list[LayerFeatures]:
        pooled = nn.functional.avg_pool2d(images, self.stride)
        return [LayerFeatures(torch.cat([pooled, torch.full_like(pooled[:, :1], 0.3)], 1), None)]


@pytest.fixture
def tracker() -> VideoObjectTracker:
    return VideoObjectTracker(Colors(), LabelPropagation(short_side=48, long_multiple=0, radius=4))


def square(left: int, value: int) -> np.ndarray:
    """Ids of :func:`scene`'s square."""
    return (scene(left, 6).max(-1) > 128).astype(np.uint8) * value


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for index in range(5):
        write_image(tmp_path / "clip" / f"{index:05d}.png", 4 + 2 * index)
    return tmp_path / "clip"


def test_folder_with_its_mask_in_it(tracker: VideoObjectTracker, frames: Path, tmp_path: Path) -> None:
    write_indexed_png(frames / "first_mask.png", square(4, 9))
    done = track_video(tracker, frames, frames / "first_mask.png", tmp_path / "out", fps=5)
    assert (done.frames, done.object_ids, done.masks) == (5, [9], tmp_path / "out" / "clip")
    assert sorted(f.name for f in done.masks.iterdir()) == [f"{i:05d}.png" for i in range(5)]
    for index in range(5):
        found = read_object_ids(done.masks / f"{index:05d}.png")
        assert (found != square(4 + 2 * index, 9)).mean() < 0.01
    assert done.video is not None
    with VideoReader(done.video) as video:
        assert video.fps == pytest.approx(5)
        assert len(list(video)) == 5


def test_objects_from_a_folder_of_masks(tracker: VideoObjectTracker, frames: Path, tmp_path: Path) -> None:
    """Of each object the first mask counts: the wrong ones of later frames are not looked at."""
    write_indexed_png(tmp_path / "masks" / "00000.png", square(4, 0))
    write_indexed_png(tmp_path / "masks" / "00001.png", square(6, 2))
    corner = np.zeros_like(square(6, 2))
    corner[40:, 50:] = 2
    corner[40:, :10] = 4
    write_indexed_png(tmp_path / "masks" / "00003.png", corner)
    done = track_video(tracker, frames, tmp_path / "masks", tmp_path / "out", draw=False)
    assert done.video is None
    assert not (tmp_path / "out" / "clip.mp4").exists()
    assert done.object_ids == [2, 4]
    assert not read_object_ids(done.masks / "00000.png").any()
    assert (read_object_ids(done.masks / "00002.png") != square(8, 2)).mean() < 0.01
    third = read_object_ids(done.masks / "00003.png")
    assert np.array_equal(third == 4, corner == 4)
    assert ((third == 2) != (square(10, 2) == 2)).mean() < 0.01


def test_video_file(tracker: VideoObjectTracker, write_video, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.avi", frames=6)
    write_indexed_png(tmp_path / "mask.png", square(0, 1))
    done = track_video(tracker, video, tmp_path / "mask.png", tmp_path / "out", every=2)
    assert sorted(f.name for f in done.masks.iterdir()) == ["00000.png", "00002.png", "00004.png"]
    assert (read_object_ids(done.masks / "00004.png") != square(8, 1)).mean() < 0.02
    write_indexed_png(tmp_path / "later" / "2.png", square(4, 1))
    done = track_video(tracker, video, tmp_path / "later", tmp_path / "again", draw=False)
    assert not read_object_ids(done.masks / "00001.png").any()
    assert read_object_ids(done.masks / "00002.png").any()


def test_frames_stay_as_long_as_in_the_video(tracker: VideoObjectTracker, tmp_path: Path) -> None:
    times = [0, 0.1, 0.15, 0.6, 1.0]
    with VideoWriter(tmp_path / "clip.mp4", 25) as video:
        for number, time in enumerate(times):
            video.write(scene(4 + 2 * number, 6), time)
    write_indexed_png(tmp_path / "mask.png", square(4, 1))
    for every in (1, 2):
        done = track_video(tracker, video.path, tmp_path / "mask.png", tmp_path / "out", every=every)
        assert done.video is not None
        with VideoReader(done.video) as drawn:
            np.testing.assert_allclose([frame.time for frame in drawn.frames()], times[::every], atol=1e-3)


def test_natural_order_and_pictures(tracker: VideoObjectTracker, tmp_path: Path) -> None:
    for number in (8, 9, 10):
        write_image(tmp_path / "clip" / f"f{number}.png", 2 * number)
    write_indexed_png(tmp_path / "mask.png", square(16, 1))
    done = track_video(tracker, tmp_path / "clip", tmp_path / "mask.png", tmp_path / "out", draw_as="frames")
    assert (read_object_ids(done.masks / "f10.png") != square(20, 1)).mean() < 0.01
    assert done.video == tmp_path / "out" / "clip_frames"
    assert {file.name for file in done.video.iterdir()} == {"f8.jpg", "f9.jpg", "f10.jpg"}


def test_a_video_that_ends_early_or_changes_its_shape(
    tracker: VideoObjectTracker, write_video, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_indexed_png(tmp_path / "first.png", square(0, 1))
    cut = write_video(tmp_path / "cut.avi", frames=20)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    done = track_video(tracker, cut, tmp_path / "first.png", tmp_path / "out", draw=False)
    assert 1 < done.frames < 19
    assert len(list(done.masks.glob("*.png"))) == done.frames
    assert "cut.avi ends early" in caplog.text
    for number, size in enumerate([(48, 64), (48, 64), (64, 48)]):
        (tmp_path / "shots").mkdir(exist_ok=True)
        save_image(tmp_path / "shots" / f"{number}.png", scene(2 * number, 6, size))
    with pytest.raises(DataError, match=r"shots, frame 2: a frame of 64 x 48 follows one of 48 x 64 .* resize it"):
        track_video(tracker, tmp_path / "shots", tmp_path / "first.png", tmp_path / "out", draw=False)
    assert read_object_ids(tmp_path / "out" / "shots" / "1.png").any()  # what was written stays


def test_ids_beyond_a_byte(tracker: VideoObjectTracker, frames: Path, tmp_path: Path) -> None:
    """An indexed PNG holds no more; such masks are for Python."""
    save_image(tmp_path / "first.png", np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"first.png is a colour picture"):
        track_video(tracker, frames, tmp_path / "first.png", tmp_path / "out")
    cv2.imwrite(str(tmp_path / "first.png"), square(4, 1).astype(np.uint16) * 300)
    with pytest.raises(DataError, match=r"first.png holds more than 8 bits"):
        track_video(tracker, frames, tmp_path / "first.png", tmp_path / "out")


def test_the_label_stands_at_the_largest_part() -> None:
    frame = np.full((240, 320, 3), 90, np.uint8)
    labels = np.zeros((240, 320), np.uint8)
    labels[180:220, 220:280] = 5
    whole = draw_masks(frame, labels)
    labels[20:23, 20:23] = 5  # a crumb far away
    drawn = draw_masks(frame, labels)
    changed = np.argwhere((drawn != whole).any(axis=2))
    assert changed.max() < 40 * drawn.shape[0] / 240


def test_bad_input(tracker: VideoObjectTracker, frames: Path, tmp_path: Path) -> None:
    write_indexed_png(tmp_path / "small.png", np.ones((4, 5), np.uint8))
    write_indexed_png(tmp_path / "none.png", square(4, 0))
    write_indexed_png(tmp_path / "masks" / "x.png", square(4, 1))
    write_indexed_png(tmp_path / "m" / "first.png", square(4, 1))
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    cases = [
        (frames, "small.png", "clip, frame 00000: the masks are 4 x 5 but their frame is 48 x 64"),
        (frames, "none.png", "hold no object for any frame"),
        (frames, "masks", "holds no mask of a frame"),
        (frames, "absent.png", "does not exist"),
        (tmp_path / "empty", "none.png", "holds no frames"),
        (tmp_path / "absent", "none.png", "absent does not exist"),
    ]
    for video, masks, message in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            track_video(tracker, video, tmp_path / masks, out)
    with pytest.raises(ValueError, match="would overwrite an input"):
        track_video(tracker, frames, tmp_path / "m" / "first.png", tmp_path)
    with pytest.raises(ValueError, match="fps must be above 0"):
        track_video(tracker, frames, tmp_path / "m" / "first.png", out, fps=0)
    (frames / "00003.png").write_bytes(b"bad")
    with pytest.raises(DataError, match=r"00003.png cannot be decoded"):
        track_video(tracker, frames, tmp_path / "m" / "first.png", out)
    assert read_object_ids(out / "clip" / "00002.png").any()  # what was written stays
    assert (out / "clip.mp4").stat().st_size
