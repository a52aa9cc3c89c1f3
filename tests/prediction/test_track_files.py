import csv
from collections.abc import Callable
from pathlib import Path

import cv2
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
from pe_dense.prediction.video_io import VideoReader

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
    assert [f.number for f in frames] == list(range(9))
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


def test_inputs_that_do_not_fit(tmp_path: Path, predictor: Predictor, write_video: WriteVideo) -> None:
    with pytest.raises(FileNotFoundError, match=r"no.mp4 does not exist"):
        Footage.of(tmp_path / "no.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no images and no seqinfo.ini"):
        Footage.of(tmp_path / "empty")
    footage = Footage.of(write_video(tmp_path / "clip.mp4"))
    with pytest.raises(ValueError, match="would overwrite the input"):
        track_file(footage, predictor, Tracker(), tmp_path)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.jpg").write_bytes(cv2.imencode(".jpg", scene(3, 3))[1].tobytes())
    frames = Footage.of(tmp_path / "frames", fps=5)
    assert (frames.names, frames.fps, frames.count) == (["0.jpg"], 5, 1)
