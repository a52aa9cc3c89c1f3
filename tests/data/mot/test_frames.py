"""Frames of tracking sequences as a data set."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.data import DataError, MotFrames
from pe_dense.data.mapper import MappedDataset
from pe_dense.data.mot import SequenceInfo, read_mot_results, write_seqinfo
from pe_dense.data.transforms import RandomFlip
from pe_dense.structures import Tracks

ROWS = """1,4,11,6,10,8,1,1,1
1,9,31,21,20,10,1,3,0.1
2,4,13,6,10,8,1,1,1
2,5,1,1,4,4,0,1,1
2,6,1,1,4,4,1,7,1
"""


def write_clip(folder: Path, rows: str, frames: int, images: int | None = None) -> Path:
    write_seqinfo(folder / "seqinfo.ini", SequenceInfo(folder.name, frames, 12.5, 64, 48))
    (folder / "gt").mkdir()
    (folder / "gt/gt.txt").write_text(rows)
    (folder / "img1").mkdir()
    for i in range(frames if images is None else images):
        cv2.imwrite(str(folder / "img1" / f"{i + 1:06d}.png"), np.full((48, 64, 3), 10 * i, dtype=np.uint8))
    return folder


def test_items(tmp_path: Path) -> None:
    write_clip(tmp_path / "a", ROWS, 3)
    write_clip(tmp_path / "b", "2,4,1,1,8,8,1,2,1\n", 2)
    data = MotFrames(tmp_path, classes=["disc", "box", "star"])
    assert (len(data), data.clip_bounds.tolist(), data.categories.names) == (5, [0, 3, 5], ("disc", "box", "star"))
    item = data[0]
    assert (item["sequence"], item["frame"], item["image_id"], item["height"], item["width"]) == ("a", 0, 0, 48, 64)
    assert item["file_name"].endswith("a/img1/000001.png")
    objects = item["annotations"]
    # the file counts pixels from 1
    assert objects.boxes.tolist() == [[10, 5, 20, 13], [30, 20, 50, 30]]
    assert objects.classes.tolist() == [0, 2]
    # id 4 of another sequence is another object; ignored rows and unknown classes are left out
    assert [data.identities(i).tolist() for i in range(5)] == [[0, 1], [0], [], [], [2]]
    assert data[4]["frame"] == 1
    assert data[4]["annotations"].track_ids.tolist() == [2]
    assert "annotations" not in data.unlabelled(1)
    with pytest.raises(IndexError, match="item 5 of a data set of 5 frames"):
        data[5]


def test_ids_follow_their_objects_through_the_transforms(tmp_path: Path) -> None:
    write_clip(tmp_path / "a", ROWS, 3)
    sample = MappedDataset(MotFrames(tmp_path), [RandomFlip(prob=1.0)])[0]
    assert sample["instances"].track_ids.tolist() == [0, 2]  # counted over all rows of the file
    assert sample["instances"].boxes.tolist() == [[44, 5, 54, 13], [14, 20, 34, 30]]
    assert sample["instances"].masks is None


def test_classes_and_visibility(tmp_path: Path) -> None:
    write_clip(tmp_path / "a", ROWS, 3)
    assert MotFrames(tmp_path, min_visibility=0.2).identities(0).tolist() == [0]
    # one class: what counts at all is of it, as in MOTChallenge; none: not known
    assert MotFrames(tmp_path, classes=["pedestrian"])[0]["annotations"].classes.tolist() == [0, 0]
    data = MotFrames(tmp_path)
    assert data.categories is None
    assert data[0]["annotations"].classes.tolist() == [-1, -1]
    write_clip(tmp_path / "c" / "d", "1,1,1,1,8,8,0,1,1\n", 1)
    with pytest.raises(DataError, match="no object of 1 sequence can be learnt from; check classes"):
        MotFrames(tmp_path / "c")
    with pytest.raises(ValueError, match="min_visibility must lie between 0 and 1"):
        MotFrames(tmp_path, min_visibility=2)


def test_ground_truth_and_results(tmp_path: Path) -> None:
    data = MotFrames(write_clip(tmp_path / "a", ROWS, 3), classes=["disc"])
    truth = data.read_ground_truth(0)
    assert len(truth) == 5  # as the protocols want it: with what is ignored, in the file's coordinates
    assert truth.boxes[0].tolist() == [11, 6, 21, 14]
    data.write_results(tmp_path / "out", 0, Tracks.create([1], [[1, 2, 3, 4]], [7]))
    assert read_mot_results(tmp_path / "out" / "a.txt").ids.tolist() == [7]


def test_frames_that_are_missing(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "a", ROWS, 2, images=1)
    with pytest.raises(DataError, match=r"sequence a has an object in frame 2, but only 1 image"):
        MotFrames(folder)
    (folder / "img1/000001.png").unlink()
    with pytest.raises(FileNotFoundError, match="sequence a has no images"):
        MotFrames(folder)


def test_real_sequence(real_data: Path) -> None:
    root = real_data / "mot" / "MOT17-mini" / "train"
    data = MotFrames(root, names=["MOT17-02-FRCNN"], classes=["pedestrian"], min_visibility=0.25)
    objects = data[0]["annotations"]
    assert len(objects) > 3
    assert set(objects.classes.tolist()) == {0}
    assert len(set(objects.track_ids.tolist())) == len(objects)
