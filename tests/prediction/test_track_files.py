import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pe_dense.data import DataError
from pe_dense.data.mot import read_mot_results
from pe_dense.modeling.tracking.association import OCSORT, BoTSORT, ByteTrack, Tracker
from pe_dense.prediction import Predictor
from pe_dense.prediction.detection_files import FileDetections
from pe_dense.prediction.footage import Footage
from pe_dense.prediction.track_files import track_file, track_frames
from pe_dense.prediction.video_io import VideoReader, VideoWriter
from pe_dense.visualization.canvas import save_image

from .conftest import SquareFinder, scene, write_image

SETTINGS = ByteTrack(low=0.3)  # the weak object does not count
WriteVideo = Callable[..., Path]


def write_sequence(folder: Path, frames: int = 9, images: bool = True) -> Path:
    """MOTChallenge's layout, with the moving square in det.txt."""
    (folder / "det").mkdir(parents=True)
    rows = [f"{i + 1},-1,{2 * i},6,10,8,0.9,-1,-1,-1\n" for i in range(frames)]
    (folder / "det" / "det.txt").write_text("".join(rows))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nframeRate=10\nseqLength={frames}\nimWidth=64\nimHeight=48\n"
    )
    for i in range(frames if images else 0):
        write_image(folder / "img1" / f"{i + 1:06d}.png", 2 * i)
    return folder


@pytest.mark.parametrize("batch_size", [1, 4])
def test_video(tmp_path: Path, predictor: Predictor, write_video: WriteVideo, batch_size: int) -> None:
    footage = Footage.of(write_video(tmp_path / "clip.avi"))
    report = track_file(footage, predictor, Tracker(SETTINGS), tmp_path / "out", batch_size=batch_size)
    assert str(report) == "1 track with 9 boxes in 9 frames"
    results = read_mot_results(tmp_path / "out" / "clip.txt")
    assert results.frames.tolist() == list(range(9))
    assert set(results.ids) == {1}
    expected = [[2 * i, 6, 2 * i + 10, 14] for i in range(9)]
    np.testing.assert_allclose(results.boxes, expected, atol=1.5)
    with (tmp_path / "out" / "clip_tracks.csv").open(newline="", encoding="utf-8") as table:
        [row] = list(csv.DictReader(table))
    assert (row["id"], row["class"], row["first_frame"], row["last_frame"], row["detections"]) == (
        "1",
        "dög",
        "1",
        "9",
        "9",
    )
    assert float(row["path_px"]) == pytest.approx(16, abs=3)
    with VideoReader(report.written[-1]) as drawn:
        frames = list(drawn)
        assert (len(frames), drawn.fps) == (9, 12.5)
    assert (np.ptp(frames[-1][1].astype(int), axis=2) > 60).any()  # something in colour


def test_masks_and_frames_come_with_the_tracks(tmp_path: Path, predictor: Predictor, write_video: WriteVideo) -> None:
    frames = list(track_frames(Footage.of(write_video(tmp_path / "clip.avi")), predictor, Tracker(SETTINGS)))
    assert [(f.number, f.name) for f in frames] == [(i, f"{i + 1:06d}") for i in range(9)]
    assert all(len(f.instances.masks) == 1 and f.image.shape == (48, 64, 3) for f in frames)


def test_embeddings_of_the_detector_are_used(tmp_path: Path, write_video: WriteVideo) -> None:
    class Looking(SquareFinder):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            return [{"instances": self.find(s), "embeddings": torch.eye(2)} for s in batch]

    footage = Footage.of(write_video(tmp_path / "clip.avi"))
    tracker = Tracker(BoTSORT())
    list(track_frames(footage, Predictor(Looking(), [], None, "cpu"), tracker))
    assert tracker._tracks.embeddings.tolist() == [[1, 0]]
    list(track_frames(footage, Predictor(Looking(), [], None, "cpu"), Tracker(ByteTrack())))
    list(track_frames(footage, Predictor(Looking(), [], None, "cpu"), tracker, appearance=False))
    assert tracker._tracks.embeddings.shape == (1, 0)


@pytest.mark.parametrize("images", [True, False])
def test_sequence_with_detections(tmp_path: Path, images: bool) -> None:
    folder = write_sequence(tmp_path / "toy-01", images=images)
    footage = Footage.of(folder)
    assert (footage.name, footage.fps, footage.count, footage.has_images) == ("toy-01", 10, 9, images)
    report = track_file(footage, FileDetections(folder / "det" / "det.txt"), Tracker(OCSORT()), tmp_path / "out")
    assert set(report.results.ids) == {1}
    assert [path.suffix for path in report.written] == [".txt", ".csv", *([".mp4"] if images else [])]
    if not images:
        with pytest.raises(ValueError, match="toy-01 has no images for the detector"):
            next(track_frames(footage, Predictor(SquareFinder(), [], None, "cpu"), Tracker()))


def test_real_sequences(real_data: Path, tmp_path: Path) -> None:
    for name, tracks in (("MOT17-02-FRCNN", 12), ("MOT17-04-FRCNN", 26)):
        folder = real_data / "mot" / "MOT17-mini" / "train" / name
        report = track_file(
            Footage.of(folder), FileDetections(folder / "det" / "det.txt"), Tracker(ByteTrack()), tmp_path, draw=False
        )
        assert report.results.ids.max() == tracks


def test_what_is_done_survives_an_error(tmp_path: Path, write_video: WriteVideo) -> None:
    class Failing(nn.Module):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            found = SquareFinder.find(batch[0])
            if found.boxes[0, 0] >= 8:
                found.boxes[0, 0] = float("nan")
            return [{"instances": found}]

    footage = Footage.of(write_video(tmp_path / "clip.avi"))
    predictor = Predictor(Failing(), [], None, "cpu")
    with pytest.raises(ValueError, match=r"frame 4 of clip: detection 0: .* is not finite"):
        track_file(footage, predictor, Tracker(SETTINGS), tmp_path / "out")
    assert read_mot_results(tmp_path / "out" / "clip.txt").frames.tolist() == [0, 1, 2, 3]
    assert (tmp_path / "out" / "clip_tracks.csv").is_file()


def test_frames_stay_as_long_as_in_the_video(tmp_path: Path, predictor: Predictor) -> None:
    times = [0, 0.1, 0.15, 0.6, 1.0]
    with VideoWriter(tmp_path / "clip.mp4", 25) as video:
        for number, time in enumerate(times):
            video.write(scene(2 * number, 6), time)
    report = track_file(Footage.of(video.path), predictor, Tracker(SETTINGS), tmp_path / "out", batch_size=2)
    with VideoReader(report.written[-1]) as drawn:
        np.testing.assert_allclose([frame.time for frame in drawn.frames()], times, atol=1e-3)


def test_drawn_frames_as_pictures(tmp_path: Path, predictor: Predictor, write_video: WriteVideo) -> None:
    footage = Footage.of(write_video(tmp_path / "clip.avi"))
    report = track_file(footage, predictor, Tracker(SETTINGS), tmp_path / "out", draw_as="frames")
    assert report.written[-1] == tmp_path / "out" / "clip_frames"
    assert sorted(f.name for f in report.written[-1].iterdir()) == [f"{i:06d}.jpg" for i in range(1, 10)]
    for number in (8, 9, 10):
        write_image(tmp_path / "shots" / f"s{number}.png", 2 * number)
    report = track_file(
        Footage.of(tmp_path / "shots"), predictor, Tracker(SETTINGS), tmp_path / "out", draw_as="frames"
    )
    assert {f.name for f in report.written[-1].iterdir()} == {"s8.jpg", "s9.jpg", "s10.jpg"}


def test_missing_images_of_a_sequence(tmp_path: Path) -> None:
    """The results are numbered like the images that are left."""
    folder = write_sequence(tmp_path / "toy-01")
    for number in (3, 4, 8):
        (folder / "img1" / f"{number:06d}.png").unlink()
    report = track_file(
        Footage.of(folder), FileDetections(folder / "det" / "det.txt"), Tracker(ByteTrack()), tmp_path / "out"
    )
    assert report.results.frames.tolist() == [0, 1, 4, 5, 6, 8]
    np.testing.assert_allclose(report.results.boxes[:, 0], 2 * report.results.frames, atol=1)
    assert set(report.results.ids) == {1}


@pytest.mark.parametrize("content", [b"damaged", b""])
def test_broken_and_empty_frames(tmp_path: Path, predictor: Predictor, content: bytes) -> None:
    for number in range(5):
        write_image(tmp_path / "shots" / f"{number}.png", 2 * number)
    (tmp_path / "shots" / "2.png").write_bytes(content)
    report = track_file(Footage.of(tmp_path / "shots"), predictor, Tracker(SETTINGS), tmp_path / "out")
    assert report.results.frames.tolist() == [0, 1, 3, 4]
    assert set(report.results.ids) == {1}
    with pytest.raises(DataError, match="frame 2 "):
        track_file(Footage.of(tmp_path / "shots", on_error="stop"), predictor, Tracker(SETTINGS), tmp_path / "stopped")
    assert read_mot_results(tmp_path / "stopped" / "shots.txt").frames.tolist() == [0, 1]


def test_frames_of_another_size(tmp_path: Path, predictor: Predictor) -> None:
    """Boxes are in the pixels of each frame; the drawn video keeps the size of the first."""
    (tmp_path / "shots").mkdir()
    for number, size in enumerate([(48, 64), (48, 64), (60, 80)]):
        save_image(tmp_path / "shots" / f"{number}.png", scene(2 * number, 6, size))
    report = track_file(Footage.of(tmp_path / "shots"), predictor, Tracker(SETTINGS), tmp_path / "out")
    np.testing.assert_allclose(report.results.boxes, [[2 * i, 6, 2 * i + 10, 14] for i in range(3)], atol=0.5)
    with VideoReader(report.written[-1]) as drawn:
        sizes = {frame.shape for _, frame in drawn}
    assert len(sizes) == 1


def test_nothing_is_detected(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "toy-01", frames=3)
    (folder / "det" / "det.txt").write_text("")
    report = track_file(
        Footage.of(folder), FileDetections(folder / "det" / "det.txt"), Tracker(BoTSORT()), tmp_path / "out"
    )
    assert str(report) == "0 tracks with 0 boxes in 3 frames"
    assert report.written[0].read_text() == ""
    assert len(report.written[1].read_text().splitlines()) == 1  # the head of the table
    with VideoReader(report.written[2]) as drawn:
        assert len(list(drawn)) == 3


def test_detections_of_a_longer_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_sequence(tmp_path / "toy-01")
    found = FileDetections(folder / "det" / "det.txt")
    track_file(Footage.of(folder), found, Tracker(), tmp_path / "out", draw=False)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    for number in (7, 8, 9):
        (folder / "img1" / f"{number:06d}.png").unlink()
    track_file(Footage.of(folder), found, Tracker(), tmp_path / "out", draw=False)
    assert "toy-01: the detections go on to frame 9, the video ends with frame 6; are they of another" in caplog.text


def test_video_that_ends_early(
    tmp_path: Path, predictor: Predictor, write_video: WriteVideo, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "clip.avi", frames=20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = track_file(Footage.of(path), predictor, Tracker(SETTINGS), tmp_path / "out")
    assert 1 < report.frames < 19
    assert set(report.results.ids) == {1}
    assert "ends early" in caplog.text
    with pytest.raises(DataError, match="ends early"):
        track_file(Footage.of(path, on_error="stop"), predictor, Tracker(SETTINGS), tmp_path / "stopped")
    kept = read_mot_results(tmp_path / "stopped" / "clip.txt")
    assert kept.frames.tolist() == report.results.frames.tolist()


def test_inputs_that_do_not_fit(tmp_path: Path, predictor: Predictor, write_video: WriteVideo) -> None:
    footage = Footage.of(write_video(tmp_path / "clip.mp4"))
    with pytest.raises(ValueError, match="would overwrite the input"):
        track_file(footage, predictor, Tracker(), tmp_path)
