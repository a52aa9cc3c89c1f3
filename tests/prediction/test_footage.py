"""The frames of videos, folders and sequences: their order, numbers, times and names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pe_dense.data import DataError
from pe_dense.prediction.footage import Footage
from pe_dense.prediction.video_io import VideoWriter

from .conftest import scene, write_image

TIMES = (0, 0.1, 0.15, 0.6, 1.0)


def write_seqinfo(folder: Path, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = f"[Sequence]\nname=toy\nframeRate=10\nseqLength=12\nimWidth=64\nimHeight=48\n{more}"
    (folder / "seqinfo.ini").write_text(text)
    return folder


def left_edges(footage: Footage) -> list[int]:
    return [int((frame.image[10, :, 0] > 128).argmax()) for frame in footage if frame.image is not None]


def test_video_keeps_its_times(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        for number, time in enumerate(TIMES):
            writer.write(scene(4 * number, 6), time)
    footage = Footage.of(writer.path)
    for _ in range(2):  # read again each time
        frames = list(footage)
        np.testing.assert_allclose([f.time for f in frames], TIMES, atol=1e-3)
        assert [f.number for f in frames] == list(range(5))
    assert [frames[i].name for i in (0, 4)] == ["000001", "000005"]
    assert (footage.name, footage.count, footage.image_numbers) == ("clip", 5, "clip.mp4")


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):
        write_image(tmp_path / "frames" / f"f{number}.png", number)
    footage = Footage.of(tmp_path / "frames", fps=5)
    assert (footage.name, footage.fps, footage.count) == ("frames", 5, 4)
    assert left_edges(footage) == [1, 2, 10, 11]
    assert [(f.number, f.time, f.name) for f in footage] == [
        (0, 0, "f1"), (1, 0.2, "f2"), (2, 0.4, "f10"), (3, pytest.approx(0.6), "f11"),
    ]  # fmt: skip
    assert footage.image_numbers == {"f1.png": 0, "f2.png": 1, "f10.png": 2, "f11.png": 3}


def test_sequence_with_missing_images(tmp_path: Path) -> None:
    """Images are called by the numbers of the frames, which det.txt counts by."""
    folder = write_seqinfo(tmp_path / "toy-03", "imDir=pictures\n")
    for number in (2, 3, 7):
        write_image(folder / "pictures" / f"{number:06d}.png", number)
    footage = Footage.of(folder)
    assert (footage.name, footage.fps, footage.count, footage.size) == ("toy", 10, 3, (48, 64))
    assert [(f.number, f.name) for f in footage] == [(1, "000002"), (2, "000003"), (6, "000007")]
    assert left_edges(footage) == [2, 3, 7]
    assert footage.image_numbers == {"000002.png": 1, "000003.png": 2, "000007.png": 6}


def test_sequence_of_other_names_and_without_images(tmp_path: Path) -> None:
    folder = write_seqinfo(tmp_path / "s")
    frames = list(Footage.of(folder))
    assert [(f.number, f.image, f.name) for f in (frames[0], frames[-1])] == [(0, None, "000001"), (11, None, "000012")]
    assert len(frames) == 12
    assert Footage.of(folder).image_numbers is None
    for name in ("img10.png", "img9.png"):
        write_image(folder / "img1" / name)
    assert [(f.number, f.name) for f in Footage.of(folder)] == [(0, "img9"), (1, "img10")]


def test_images_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(4):
        write_image(tmp_path / f"{number}.png", number)
    (tmp_path / "2.png").write_bytes(b"damaged")
    assert [f.number for f in Footage.of(tmp_path)] == [0, 1, 3]
    assert "2.png cannot be decoded" in caplog.text
    with pytest.raises(DataError, match=r"frame 2 .* could not be decoded"):
        list(Footage.of(tmp_path, on_error="stop"))


def test_refusals(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"no.mp4 does not exist"):
        Footage.of(tmp_path / "no.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no images and no seqinfo.ini"):
        Footage.of(tmp_path / "empty")
    for fps in (0, -3, float("nan")):
        with pytest.raises(ValueError, match="fps must be above 0"):
            Footage.of(write_video(tmp_path / "v.mp4"), fps)
    write_image(tmp_path / "two" / "1.png")
    write_image(tmp_path / "two" / "1.jpg")
    with pytest.raises(DataError, match=r"several pictures 1\.\*: keep one of each frame"):
        Footage.of(tmp_path / "two")
    for names in (["000000.png", "000001.png"], ["1.png", "01.png"]):
        folder = write_seqinfo(tmp_path / names[0])
        for name in names:
            write_image(folder / "img1" / name)
        with pytest.raises(DataError, match="must be called by the frames' numbers"):
            Footage.of(folder)
