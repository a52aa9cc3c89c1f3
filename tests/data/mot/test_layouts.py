"""Finding sequences and their results."""

import logging
from pathlib import Path

import pytest

from pe_dense.data import DataError
from pe_dense.data.mot import (
    KITTI_MOTS_FORMAT,
    SequenceInfo,
    find_kitti_sequences,
    find_mot_sequences,
    match_results,
    read_seqinfo,
    write_seqinfo,
)

ROW = "{},1,0,0,5,5,1,1,1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set in MOT17's layout: two sequences with two detectors each, and a test part without annotations."""
    for part in ("train", "test"):
        for name in ("M-02-DPM", "M-02-FRCNN", "M-04-DPM", "M-04-FRCNN"):
            write_seqinfo(tmp_path / part / name / "seqinfo.ini", SequenceInfo(name, 10, width=64, height=48))
            if part == "train":
                (tmp_path / part / name / "gt").mkdir()
                (tmp_path / part / name / "gt/gt.txt").write_text(ROW.format(10))
    return tmp_path


def results(folder: Path, *names: str, frame: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.txt").write_text(ROW.format(frame))
    return folder


def test_parts_patterns_and_single_sequences(root: Path) -> None:
    assert [s.name for s in find_mot_sequences(root, "train")] == ["M-02-DPM", "M-02-FRCNN", "M-04-DPM", "M-04-FRCNN"]
    assert [s.name for s in find_mot_sequences(root / "train", names=["*-FRCNN"])] == ["M-02-FRCNN", "M-04-FRCNN"]
    assert len(find_mot_sequences(root, "test")) == 4
    (single,) = find_mot_sequences(root / "train/M-04-DPM")
    assert single.name == "M-04-DPM"
    assert single.length == 10
    with pytest.raises(DataError, match="choose one of its parts: test, train"):
        find_mot_sequences(root)
    with pytest.raises(DataError, match="has no sequence M-9; it has M-02-DPM"):
        find_mot_sequences(root, "train", names=["M-9"])
    with pytest.raises(FileNotFoundError, match="val does not exist"):
        find_mot_sequences(root, "val")


def test_seqmaps(root: Path) -> None:
    (root / "seqmaps").mkdir()
    seqmap = root / "seqmaps/train.txt"
    seqmap.write_text("name\nM-04-DPM\nM-02-DPM\n\n")
    assert [s.name for s in find_mot_sequences(root / "train")] == ["M-04-DPM", "M-02-DPM"]
    (root / "other.txt").write_text("M-02-FRCNN\n")  # DanceTrack's have no heading
    assert [s.name for s in find_mot_sequences(root, "train", seqmap=root / "other.txt")] == ["M-02-FRCNN"]
    seqmap.write_text("name\nM-05\n")
    with pytest.raises(DataError, match=r"lists M-05, but .* has no such sequence"):
        find_mot_sequences(root / "train")
    seqmap.write_text("name\n")
    with pytest.raises(DataError, match="lists no sequence"):
        find_mot_sequences(root / "train")


def test_results_are_matched_by_name(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sequences = find_mot_sequences(root, "train", names=["*-DPM"])
    folder = results(tmp_path / "ours/data", "M-02-DPM", "M-04-DPM", "M-99")
    with caplog.at_level(logging.WARNING):
        found = match_results(sequences, tmp_path / "ours")
    assert [c.results for c in found] == [folder / "M-02-DPM.txt", folder / "M-04-DPM.txt"]
    assert "1 file of no chosen sequence left out: M-99" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"no results for M-02-DPM \(there are files for M-09\)"):
        match_results(sequences, results(tmp_path / "partly", "M-04-DPM", "M-09"))
    with pytest.raises(FileNotFoundError, match="do not exist"):
        match_results(sequences, tmp_path / "nowhere")
    with pytest.raises(DataError, match="is one file, but there are 2 sequences"):
        match_results(sequences, folder / "M-99.txt")
    assert match_results(sequences[:1], folder / "M-99.txt")[0].load()[2] == 10


def test_results_of_a_longer_sequence_are_refused(root: Path, tmp_path: Path) -> None:
    (sequence,) = find_mot_sequences(root / "train/M-02-DPM")
    path = results(tmp_path / "ours", "M-02-DPM", frame=11) / "M-02-DPM.txt"
    message = r"has frame 11, but sequence M-02-DPM has 10 frames \(1 to 10\); check whether they are of another"
    with pytest.raises(DataError, match=message):
        sequence.with_results(path).load()


def test_without_seqinfo_images_or_else_the_files_tell_the_length(root: Path, tmp_path: Path) -> None:
    folder = root / "train/M-02-DPM"
    (folder / "seqinfo.ini").unlink()
    path = results(tmp_path / "ours", "M-02-DPM", frame=12) / "M-02-DPM.txt"
    (sequence,) = find_mot_sequences(folder)
    assert sequence.with_results(path).load()[2] == 12
    (folder / "img1").mkdir()
    for number in range(1, 12):
        (folder / f"img1/{number:06d}.jpg").touch()
    assert len(sequence.image_files()) == 11
    with pytest.raises(DataError, match="has frame 12, but sequence M-02-DPM has 11 frames"):
        sequence.with_results(path).load()


def test_seqinfo(tmp_path: Path) -> None:
    path = tmp_path / "S/seqinfo.ini"
    info = SequenceInfo("S", 20, 12.5, 640, 480, "frames", ".png")
    write_seqinfo(path, info)
    assert read_seqinfo(path) == info
    path.write_text("[Sequence]\nseqLength=7\n")
    assert read_seqinfo(path) == SequenceInfo("S", 7)
    for text, message in (
        ("[Sequence]\nseqLength=x\n", "seqLength is 'x', not a number"),
        ("[Sequence]\nname=S\n", "seqLength is None"),
        ("seqLength=7\n", "has no section"),
        ("[Sequence]\nseqLength=7\nframeRate=0\n", "frameRate is '0'"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_seqinfo(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_seqinfo(tmp_path / "none.ini")


def test_kitti(tmp_path: Path) -> None:
    for name in ("0000", "0001"):
        (tmp_path / "label_02").mkdir(exist_ok=True)
        (tmp_path / f"label_02/{name}.txt").write_text("")
    seqmap = tmp_path / "map"
    seqmap.write_text("0001 empty 000000 000154\n")
    assert [s.name for s in find_kitti_sequences(tmp_path)] == ["0000", "0001"]
    (sequence,) = find_kitti_sequences(tmp_path, seqmap=seqmap)
    assert (sequence.name, sequence.length) == ("0001", 154)
    (sequence,) = find_kitti_sequences(tmp_path, seqmap=seqmap, track_format=KITTI_MOTS_FORMAT)
    assert sequence.length == 155  # there the last frame is listed
    seqmap.write_text("0001 empty\n")
    with pytest.raises(DataError, match="map, line 1: is not like"):
        find_kitti_sequences(tmp_path, seqmap=seqmap)
    with pytest.raises(FileNotFoundError, match="label_02"):
        find_kitti_sequences(tmp_path / "nowhere")
