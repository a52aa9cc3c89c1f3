"""MOTChallenge's text files: real ones, and all that can be wrong with them."""

from pathlib import Path

import numpy as np
import pytest

from pe_dense.data import DataError
from pe_dense.data.mot import (
    read_mot_detections,
    read_mot_ground_truth,
    read_mot_results,
    write_mot_detections,
    write_mot_ground_truth,
    write_mot_results,
)
from pe_dense.structures import Tracks


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_real_sequence(real_data: Path) -> None:
    folder = real_data / "mot/MOT17-mini/train/MOT17-04-FRCNN"
    truth, found = read_mot_ground_truth(folder / "gt/gt.txt"), read_mot_detections(folder / "det/det.txt")
    assert len(truth) == 792
    assert (np.bincount(truth.frames) == 99).all()
    assert len(truth.offsets(8)) == 9
    first = truth[(truth.frames == 0) & (truth.ids == 1)]
    assert first.boxes.tolist() == [[1363, 569, 1363 + 103, 569 + 241]]
    assert first.visibility.tolist() == [0.86014]
    assert set(truth.classes.tolist()) <= set(range(1, 14))
    assert truth.ignored.any()
    assert len(found) == 205
    assert (found.ids == -1).all()


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.uniform(0, 900, (40, 2, 2)), axis=1).reshape(-1, 4)
    tracks = Tracks.create(np.repeat(np.arange(10), 4), boxes, np.tile(np.arange(4), 10) + 1, scores=rng.random(40))
    write_mot_results(tmp_path / "a/results.txt", tracks)
    again = read_mot_results(tmp_path / "a/results.txt")
    np.testing.assert_allclose(again.boxes, tracks.boxes, atol=1.1e-3)
    np.testing.assert_allclose(again.scores, tracks.scores, rtol=1e-5)
    assert again.frames.tolist() == tracks.frames.tolist()
    assert again.ids.tolist() == tracks.ids.tolist()
    assert (tmp_path / "a/results.txt").read_text().startswith("1,1,")
    write_mot_detections(tmp_path / "det.txt", tracks)
    assert len(read_mot_detections(tmp_path / "det.txt")) == 40
    write_mot_ground_truth(tmp_path / "gt.txt", tracks)
    np.testing.assert_allclose(np.sort(read_mot_ground_truth(tmp_path / "gt.txt").boxes, 0), np.sort(tracks.boxes, 0))
    with pytest.raises(ValueError, match="need an id"):
        write_mot_results(tmp_path / "none.txt", Tracks.create([0], [[0, 0, 1, 1]]))


PLAIN = "1,4,10,20,30,40,0.5,-1,-1,-1\n2,4,11.5,20,30,40,0.5,-1,-1,-1\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        PLAIN.replace(",", ", "),
        PLAIN.replace(",", " "),
        PLAIN.replace("\n", ",\n"),
        PLAIN.replace("\n", "\n\n"),
        PLAIN.replace("1,4", "000001,4.0"),
        PLAIN.replace("0.5", ".5").rstrip(),
        PLAIN.replace("10,20", "1.0e1,+20."),
        "".join(reversed(PLAIN.splitlines(keepends=True))),
    ],
    ids=["plain", "windows", "byte order mark", "blanks", "no commas", "comma at the end", "blank lines", "zeros",
         "short numbers", "exponent", "unsorted"],
)  # fmt: skip
def test_forms_of_the_same_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.txt").write_bytes(text.encode())
    tracks = read_mot_results(tmp_path / "r.txt")
    assert tracks.frames.tolist() == [0, 1]
    assert tracks.ids.tolist() == [4, 4]
    assert tracks.boxes.tolist() == [[10, 20, 40, 60], [11.5, 20, 41.5, 60]]
    assert tracks.scores.tolist() == [0.5, 0.5]


def test_gaps_and_empty_files_are_allowed(tmp_path: Path) -> None:
    tracks = read_mot_results(write(tmp_path / "gaps.txt", "1,1,0,0,5,5,1\n90,1,0,0,5,5,1\n7,1,0,0,0,5,1\n"))
    assert tracks.frames.tolist() == [0, 6, 89]
    for text in ("", "\n \n"):
        assert len(read_mot_results(write(tmp_path / "empty.txt", text))) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2,1,nan,0,5,5,1", "line 2: the box nan, 0, nan, 5 is not finite"),
        ("2,1,0,inf,5,5,1", "line 2: the box .* is not finite"),
        ("2,1,0,0,-5,5,1", "line 2: the box has the negative size -5 x 5"),
        ("2,1,0,0,5,5,nan", "line 2: the confidence nan"),
        ("0,1,0,0,5,5,1", "line 2: frame 0 is below 1"),
        ("1.5,1,0,0,5,5,1", "line 2: frame 1.5 is not a whole number"),
        ("nan,1,0,0,5,5,1", "line 2: frame nan is not a whole number"),
        ("2,1.5,0,0,5,5,1", "line 2: id 1.5 is not a whole number"),
        ("2,-1,0,0,5,5,1", r"line 2: has no track id \(-1\)"),
        ("1,1,3,3,5,5,1", "lines 1 and 2: id 1 occurs twice in frame 1"),
        ("2,1,0,0,5,five,1", "line 2: 'five' is not a number"),
        ("2,1,0,0,5", "line 2: has 5 columns, but line 1 has 7"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "results.txt", f"1,1,0,0,5,5,1\n{line}\n")
    with pytest.raises(DataError, match=f"results .*results.txt, {message}"):
        read_mot_results(path)


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 4"):
        read_mot_results(write(tmp_path / "r.txt", "\n1,1,0,0,5,5,1\n\n2,1,nan,0,5,5,1\n"))


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 5 columns, but at least 6"):
        read_mot_results(write(tmp_path / "short.txt", "1,1,0,0,5\n"))
    with pytest.raises(FileNotFoundError, match=r"results .*missing.txt does not exist"):
        read_mot_results(tmp_path / "missing.txt")
