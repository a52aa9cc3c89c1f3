"""KITTI's tracking labels."""

from pathlib import Path

import pytest

from pe_dense.data import DataError
from pe_dense.data.mot import read_kitti_tracks, write_kitti_results
from pe_dense.structures import Tracks

REST = "1.5 1.6 3.9 2.1 1.7 20.3 -1.5"
LABELS = (
    f"0 -1 DontCare -1 -1 -10 0 10 50 60 {REST}\n"
    f"0 2 Car 0 3 -1.8 296.7 161.7 455.2 292.4 {REST}\n"
    f"1 2 Van 1 0 -1.8 300 161 460 292 {REST}\n"
    f"1 -1 Car 0 0 -1.8 300 161 460 292 {REST}\n"
    f"1 2 Person_sitting 0 0 -1.8 300 161 460 292 {REST}\n"
)


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "0000.txt").write_text(LABELS)
    tracks = read_kitti_tracks(tmp_path / "0000.txt")
    assert tracks.ids.tolist() == [-1, 2, 2, 2]  # the car without an id is left out
    assert tracks.classes.tolist() == [9, 1, 2, 5]
    assert tracks.ignored.tolist() == [True, False, False, False]
    assert tracks.frames.tolist() == [0, 0, 1, 1]
    assert tracks.boxes[1].tolist() == [296.7, 161.7, 455.2, 292.4]
    assert tracks.occlusion.tolist()[1:] == [3, 0, 0]
    assert tracks.truncation.tolist()[1:] == [0, 1, 0]
    (tmp_path / "empty.txt").write_text("")
    assert len(read_kitti_tracks(tmp_path / "empty.txt")) == 0


def test_results(tmp_path: Path) -> None:
    tracks = Tracks.create([0, 3], [[1, 2, 3, 4], [5, 6, 7, 8.25]], ids=[0, 9], scores=[0.5, 0.25], classes=[1, 4])
    write_kitti_results(tmp_path / "0001.txt", tracks)
    again = read_kitti_tracks(tmp_path / "0001.txt", "results")
    assert len((tmp_path / "0001.txt").read_text().splitlines()[0].split()) == 18
    for name in ("frames", "boxes", "ids", "scores", "classes"):
        assert getattr(again, name).tolist() == getattr(tracks, name).tolist()
    with pytest.raises(ValueError, match="classes must be 1 to 9"):
        write_kitti_results(tmp_path / "x.txt", Tracks.create([0], [[0, 0, 1, 1]], ids=[1], classes=[13]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"0 1 Tank 0 0 0 1 2 3 4 {REST}", "line 1: unknown type 'Tank'"),
        (f"0 1 Car 0 0 0 5 2 3 4 {REST}", "line 1: the box has the negative size -2, 2"),
        (f"0 1 Car 0 0 0 nan 2 3 4 {REST}", "line 1: has a value that is not finite"),
        (f"-1 1 Car 0 0 0 1 2 3 4 {REST}", "line 1: frame -1 is below 0"),
        ("1,1,0,0,5,5,1", "line 1: has 1 columns"),
        (f"0 1 Car 0 0 0 1 x 3 4 {REST}", "line 1: could not convert"),
        (f"0 1 Car 0 0 0 1 2 3 4 {REST}\n0 1 Car 0 0 0 1 2 3 4 {REST}", "lines 1 and 2: id 1 occurs twice in frame 0"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "0000.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=f"0000.txt, {message}"):
        read_kitti_tracks(tmp_path / "0000.txt")
