"""Reading and writing videos."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.data import DataError
from pe_dense.prediction import VideoReader, VideoWriter, video_io


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".mkv"])
def test_every_container(tmp_path: Path, write_video: Callable[..., Path], suffix: str) -> None:
    path = write_video(tmp_path / f"a:b %03d ü{suffix}")
    with VideoReader(path) as reader:
        assert (reader.size, reader.expected_frames) == ((48, 64), 9)
        assert reader.fps == pytest.approx(12.5)
        frames = list(reader)
    assert [index for index, _ in frames] == list(range(9))
    for index, frame in frames:  # the bright square moves by two pixels a frame
        columns = np.flatnonzero(frame[8].mean(axis=1) > 128)
        assert abs(int(columns[0]) - 2 * index) <= 1


@pytest.mark.parametrize(("every", "expected"), [(2, [0, 2, 4, 6, 8]), (4, [0, 4, 8]), (5, [0, 5]), (20, [0])])
def test_every_nth_frame(tmp_path: Path, write_video: Callable[..., Path], every: int, expected: list[int]) -> None:
    with VideoReader(write_video(tmp_path / "v.mp4"), every) as reader:
        assert reader.expected_frames == len(expected)
        found = {index: np.flatnonzero(frame[8].mean(axis=1) > 128)[0] for index, frame in reader}
    assert list(found) == expected
    assert all(abs(column - 2 * index) <= 1 for index, column in found.items())


def test_bad_files(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    good = write_video(tmp_path / "good.mp4").read_bytes()
    for name, content in (("empty.mp4", b""), ("cut.mp4", good[: len(good) // 2]), ("text.avi", b"hello" * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"video .*{name} cannot be opened"):
            VideoReader(tmp_path / name)
    with pytest.raises(DataError, match="holds no frame that can be decoded"):
        VideoReader(write_video(tmp_path / "none.avi", frames=0))
    with pytest.raises(FileNotFoundError, match=r"video .*nix.mp4 does not exist"):
        VideoReader(tmp_path / "nix.mp4")
    broken_name = tmp_path / "\udcff.mp4"
    broken_name.write_bytes(good)
    with pytest.raises(DataError, match="not valid UTF-8; rename"):
        VideoReader(broken_name)


def test_odd_and_changing_sizes(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "new folder" / "v.mp4", 29.97) as writer:
        for height, width in ((47, 63), (47, 63), (30, 90)):
            writer.write(np.full((height, width, 3), (250, 10, 10), dtype=np.uint8))
    with VideoReader(writer.path) as reader:
        assert reader.fps == pytest.approx(29.97)
        frames = [frame for _, frame in reader]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert all(frame[..., 0].mean() > 200 > 60 > frame[..., 2].mean() for frame in frames)


def test_opencv_without_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_io, "_CODECS", (("none", ""), *video_io._CODECS[1:]))
    with VideoWriter(tmp_path / "v.mp4", 5) as writer:
        writer.write(np.zeros((16, 16, 3), dtype=np.uint8))
    assert writer.path == tmp_path / "v.mp4.avi"
    assert cv2.VideoCapture(str(writer.path)).read()[0]


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").mkdir()
    (tmp_path / "v.mp4.avi").mkdir()
    with pytest.raises(OSError, match=r"video .*v.mp4 cannot be written"), VideoWriter(tmp_path / "v.mp4", 5) as writer:
        writer.write(np.zeros((16, 16, 3), dtype=np.uint8))
