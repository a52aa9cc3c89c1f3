"""Images and videos in; pictures, videos and json out."""

import errno
import json
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pe_dense.data import CocoDataset, DataError
from pe_dense.evaluation import evaluate_coco_results
from pe_dense.prediction import Predictor, VideoReader, VideoWriter, files, predict_files

from .conftest import scene, write_image


def read(folder: Path) -> Any:
    return json.loads((folder / "predictions.json").read_text(encoding="utf-8"))


def test_images(tmp_path: Path, predictor: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_image(tmp_path / "in" / "a b.jpg", 5, 6)
    write_image(tmp_path / "in" / "a b.png", 40, 20)
    write_image(tmp_path / "in" / "ü" / "a b.png", 1, 30)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    report = predict_files(predictor, [tmp_path / "in" / "**" / "*"], tmp_path / "out", batch_size=2)
    assert (report.images, report.objects, len(report.skipped)) == (3, 3, 1)
    assert [path.relative_to(tmp_path / "out").as_posix() for path in report.written] == [
        "a b_jpg.png", "a b_png.png", "ü/a b.png",
    ]  # fmt: skip
    assert "bad.jpg cannot be decoded" in caplog.text
    assert "3 objects in 3 images; skipped, because they could not be read: 1" in caplog.text
    for path in report.written:
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (480, 640, 3)  # enlarged, so that text is legible
        assert np.ptp(picture.astype(int), axis=2).max() > 50  # coloured lines on a grey image

    data = read(tmp_path / "out")
    assert data["info"]["image_root"] == str(tmp_path / "in")
    assert [i["file_name"] for i in data["images"]] == ["a b.jpg", "a b.png", "ü/a b.png"]
    assert data["annotations"][1]["bbox"] == [40, 20, 10, 8]
    assert data["annotations"][1]["area"] == 80
    assert data["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dög"}]

    # the predictions are a data set, and perfect when compared with themselves
    truth, results = tmp_path / "out" / "predictions.json", tmp_path / "out" / "coco_instances_results.json"
    scores = evaluate_coco_results(truth, results)
    assert (scores["bbox/AP"], scores["segm/AP"]) == (pytest.approx(100), pytest.approx(100))
    oracle = COCO(str(truth))
    evaluation = COCOeval(oracle, oracle.loadRes(str(results)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    sample = CocoDataset(truth, data["info"]["image_root"])[1]
    assert sample["image_id"] == 2


def test_the_highest_score_is_told_when_nothing_is_left(
    tmp_path: Path, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    images = [write_image(tmp_path / name) for name in ("a.png", "b.png")]
    report = predict_files(predictor, images, tmp_path / "out", draw=False)
    assert (report.objects, report.rejected, report.highest_score) == (2, 2, 0.75)
    assert not caplog.text
    predictor.score_threshold = 0.9
    assert predict_files(predictor, images, tmp_path / "out", draw=False).objects == 0
    assert "no object scored 0.9 or more; the highest of 4 was 0.75: lower the score threshold" in caplog.text


def test_colours_of_objects(tmp_path: Path, predictor: Predictor) -> None:
    image = write_image(tmp_path / "a.png")
    pictures = []
    for color_by in ("class", "instance"):
        report = predict_files(predictor, [image], tmp_path / "out", color_by=color_by)
        pictures.append(cv2.imread(str(report.written[0])))
    assert not np.array_equal(*pictures)  # the only object is the first one, but of the second class


@pytest.mark.parametrize(("every", "batch_size"), [(1, 4), (3, 2)])
def test_video(
    tmp_path: Path, predictor: Predictor, write_video: Callable[..., Path], every: int, batch_size: int
) -> None:
    write_video(tmp_path / "in" / "my clip ü.avi")
    write_video(tmp_path / "in" / "my clip ü.mkv")
    write_image(tmp_path / "in" / "still.png")
    report = predict_files(predictor, [tmp_path / "in"], tmp_path / "out", every=every, batch_size=batch_size)
    indices = list(range(0, 9, every))
    assert (report.images, report.frames) == (1, 2 * len(indices))
    assert [path.name for path in report.written] == ["still.png", "my clip ü_avi.mp4", "my clip ü_mkv.mp4"]
    with VideoReader(report.written[1]) as video:
        assert video.fps == pytest.approx(12.5 / every, rel=1e-3)
        assert video.size == (480, 640)
        assert len(list(video)) == len(indices)
    data = read(tmp_path / "out")
    assert [(v["id"], v["file_name"], v["length"]) for v in data["videos"]] == [
        (1, "my clip ü.avi", len(indices)), (2, "my clip ü.mkv", len(indices)),
    ]  # fmt: skip
    frames = [i for i in data["images"] if i.get("video_id") == 2]
    assert [frame["frame_id"] for frame in frames] == indices
    assert frames[1]["file_name"] == f"my clip ü.mkv#{every}"
    boxes = {a["image_id"]: a["bbox"] for a in data["annotations"]}
    assert all(abs(boxes[frame["id"]][0] - 2 * frame["frame_id"]) <= 1 for frame in frames)


class Watched(Predictor):
    """Counts the frames that are alive, and fails at a given call."""

    error: BaseException | None = None
    alive_at_most = 0

    def predict_outputs(self, images: Any) -> Any:
        self.refs = [*getattr(self, "refs", []), *map(weakref.ref, images)]
        self.alive_at_most = max(self.alive_at_most, sum(ref() is not None for ref in self.refs))
        if self.error is not None and len(self.refs) > 5:
            raise self.error
        return super().predict_outputs(images)


@pytest.fixture
def watched(predictor: Predictor) -> Watched:
    return Watched(predictor.model, [], predictor.categories, "cpu", 0.5)


def test_frames_do_not_pile_up(tmp_path: Path, watched: Watched, write_video: Callable[..., Path]) -> None:
    predict_files(watched, [write_video(tmp_path / "v.mp4", frames=30)], tmp_path / "out", batch_size=2)
    assert len(watched.refs) == 30
    assert watched.alive_at_most <= 5  # two batches, and the frame being drawn


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_interrupted(tmp_path: Path, watched: Watched, write_video: Callable[..., Path], error: BaseException) -> None:
    watched.error = error
    with pytest.raises(type(error)):
        predict_files(watched, [write_video(tmp_path / "v.mp4")], tmp_path / "out")
    data = read(tmp_path / "out")
    assert len(data["annotations"]) == len(data["images"]) == data["videos"][0]["length"] == 5
    with VideoReader(tmp_path / "out" / "v.mp4") as video:
        assert len(list(video)) == 5


def test_disk_full_while_drawing(tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "save_image", full)
    with pytest.raises(OSError, match=r"could not write .*a.png \(No space left on device\)"):
        predict_files(predictor, [write_image(tmp_path / "a.jpg")], tmp_path / "out")
    assert len(read(tmp_path / "out")["annotations"]) == 1


def test_damaged_videos(
    tmp_path: Path, predictor: Predictor, write_video: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    content = write_video(tmp_path / "in" / "whole.avi", frames=25).read_bytes()
    (tmp_path / "in" / "cut.avi").write_bytes(content[: len(content) // 2])
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video" * 20)
    report = predict_files(predictor, [tmp_path / "in"], tmp_path / "out", draw=False)
    assert 25 < report.frames < 45
    assert report.written == []
    assert len(report.skipped) == 1
    assert "bad.mp4 cannot be opened" in report.skipped[0]
    assert "cut.avi ends early" in caplog.text
    assert "whole.avi ends early" not in caplog.text


def test_wrong_arguments(tmp_path: Path, predictor: Predictor) -> None:
    image = write_image(tmp_path / "a.png")
    for arguments, message in (
        ({"every": 0}, "every must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"image_format": "gif"}, "must be one of png, jpg"),
    ):
        with pytest.raises(ValueError, match=message):
            predict_files(predictor, [image], tmp_path / "out", **arguments)
    with pytest.raises(ValueError, match="holds inputs"):
        predict_files(predictor, [image], tmp_path)
    assert predict_files(predictor, [image], tmp_path, draw=False).images == 1


@pytest.mark.parametrize("every", [1, 2])
def test_frame_times_are_kept(tmp_path: Path, predictor: Predictor, every: int) -> None:
    times = [0.0, 0.04, 0.5, 0.54, 1.2]
    with VideoWriter(tmp_path / "in" / "v.mp4", 25) as writer:
        for number, time in enumerate(times):
            writer.write(scene(2 * number, 6), time)
    report = predict_files(predictor, [writer.path], tmp_path / "out", every=every, batch_size=3)
    with VideoReader(report.written[0]) as drawn:
        assert [frame.time for frame in drawn.frames()] == pytest.approx(times[::every], abs=1e-4)
    assert [i["time"] for i in read(tmp_path / "out")["images"]] == pytest.approx(times[::every], abs=1e-4)


def test_stop_at_what_cannot_be_read(tmp_path: Path, predictor: Predictor, write_video: Callable[..., Path]) -> None:
    video = write_video(tmp_path / "in" / "v.avi", frames=12)
    content = bytearray(video.read_bytes())
    start = content.index(b"movi")
    chunk = [place for place in range(start, len(content)) if content[place : place + 4] == b"00dc"][6]
    size = int.from_bytes(content[chunk + 4 : chunk + 8], "little")
    content[chunk + 8 : chunk + 8 + size] = bytes(size)  # Motion JPEG: the seventh picture
    video.write_bytes(content)
    report = predict_files(predictor, [video], tmp_path / "out")
    assert (report.frames, report.broken_frames) == (11, 1)
    assert "frames that could not be decoded: 1" in str(report)
    with pytest.raises(DataError, match=r"v.avi is damaged: frame 6 \(0.48 s\) could not be decoded"):
        predict_files(predictor, [video], tmp_path / "out", on_error="stop")
    assert [image["frame_id"] for image in read(tmp_path / "out")["images"]] == list(range(6))
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
        predict_files(predictor, [tmp_path / "bad.png"], tmp_path / "out", on_error="stop")
