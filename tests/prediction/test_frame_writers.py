"""Drawn frames as videos and as folders of pictures."""

from pathlib import Path

import numpy as np
import pytest

from pe_dense.prediction import VideoReader
from pe_dense.prediction.frame_writers import FolderWriter, open_writer
from pe_dense.prediction.video_io import VideoWriter

from .conftest import scene


def test_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    frames = [scene(left, 6, size) for left, size in ((0, (48, 64)), (4, (48, 64)), (8, (50, 65)))]
    with FolderWriter(tmp_path / "new" / "out", ".png") as writer:
        for frame in frames:
            writer.write(frame, time=0.3)
    assert sorted(f.name for f in writer.path.iterdir()) == [f"{i:06d}.png" for i in range(3)]
    with VideoReader(writer.path) as reader:
        for (_, read), frame in zip(reader, frames, strict=True):
            np.testing.assert_array_equal(read, frame)


@pytest.mark.parametrize("draw_as", ["mp4", "webm", "avi", "frames"])
def test_every_format(tmp_path: Path, draw_as: str) -> None:
    with open_writer(tmp_path, "a.b", draw_as, 12.5) as writer:
        for number in (3, 7):
            writer.write(scene(number, 6), number / 12.5, f"f{number}")
    if draw_as == "frames":
        assert writer.path == tmp_path / "a.b_frames"
        assert sorted(f.name for f in writer.path.iterdir()) == ["f3.jpg", "f7.jpg"]
    else:
        assert isinstance(writer, VideoWriter)
        assert writer.path == tmp_path / f"a.b.{draw_as}"
    with VideoReader(writer.path) as reader:
        read = list(reader)
    assert len(read) == (5 if draw_as == "avi" else 2)  # whose frame rate is constant
    np.testing.assert_allclose(read[0][1].mean(), scene(3, 6).mean(), atol=2)


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="out"), FolderWriter(tmp_path / "out") as writer:
        writer.write(scene(0, 0))
