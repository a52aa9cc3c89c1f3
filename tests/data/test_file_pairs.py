"""Finding images and their labels."""

import logging

import pytest

from pe_dense.data import DataError
from pe_dense.data.file_pairs import Pair, PairedImages, pair_folders, read_pairs


def _touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_paired_by_name(tmp_path):
    _touch(tmp_path, "rgb/b.jpg", "rgb/a.PNG", "rgb/sub/a.jpg", "rgb/notes.txt", "d/a.npy", "d/b.png", "d/sub/a.exr")
    pairs = pair_folders(tmp_path / "rgb", tmp_path / "d")
    assert [tuple(str(f).removeprefix(f"{tmp_path}/") for f in p[:2]) for p in pairs] == [
        ("rgb/a.PNG", "d/a.npy"),
        ("rgb/b.jpg", "d/b.png"),
        ("rgb/sub/a.jpg", "d/sub/a.exr"),
    ]


def test_one_folder_with_suffixes(tmp_path):
    _touch(tmp_path, "1_rgb.jpg", "1_depth.png", "2_rgb.png", "2_depth.png", "3_mask.png")
    pairs = pair_folders(tmp_path, tmp_path, "_rgb", "_depth")
    assert [p.labels.removeprefix(f"{tmp_path}/") for p in pairs] == ["1_depth.png", "2_depth.png"]


def test_files_without_a_partner_are_counted(tmp_path, caplog):
    _touch(tmp_path, "i/a.jpg", "d/a.png", *(f"i/x{n}.jpg" for n in range(7)), "d/y.png")
    assert len(pair_folders(tmp_path / "i", tmp_path / "d")) == 1
    lonely, label = (r.getMessage() for r in caplog.records)
    assert "left out 7 images without labels: " in lonely
    assert lonely.endswith("x4.jpg and 2 more")
    assert "left out 1 label file without image: " in label
    assert all(r.levelno == logging.WARNING for r in caplog.records)


def test_nothing_matches(tmp_path):
    _touch(tmp_path, "i/a_rgb.jpg", "d/a_depth.png")
    with pytest.raises(
        DataError, match=r"no image of .*/i \(1 file\) has labels .*a_rgb\.jpg and .*a_depth\.png; name"
    ):
        pair_folders(tmp_path / "i", tmp_path / "d")


def test_ambiguous_names(tmp_path):
    _touch(tmp_path, "i/a.jpg", "i/a.png", "d/a.png")
    with pytest.raises(DataError, match=r"i/a\.jpg and .*i/a\.png differ only in their extension"):
        pair_folders(tmp_path / "i", tmp_path / "d")


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such does not exist"):
        pair_folders(tmp_path / "no_such", tmp_path)


def test_lines_of_a_text_list(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "list.txt").write_text("/a.jpg /a.png 518.8579\n\nb.jpg None 518.8579\nc.jpg c.png\n")
    assert read_pairs(tmp_path / "list.txt") == [Pair("/a.jpg", "/a.png", None, 518.8579), Pair("c.jpg", "c.png")]
    assert "left out 1 line without depth (None)" in caplog.text


def test_camera_of_a_csv_list(tmp_path):
    (tmp_path / "list.csv").write_text(
        "image,depth,focal_length,cx,cy\na,b,518.9,325.6,253.7\nc,d,525,319.5,\ne,f,,,\n"
    )
    first, second, third = read_pairs(tmp_path / "list.csv")
    assert (first.focal_length, first.principal_point) == (518.9, (325.6, 253.7))
    assert (second.focal_length, second.principal_point) == (525, None)  # half a point is none
    assert third == Pair("e", "f")


def test_csv_list(tmp_path):
    (tmp_path / "list.csv").write_text("\ufeffdepth,image,scale\nd 1.png,i 1.jpg,256\nd2.png,i2.jpg,\n", "utf-8")
    assert read_pairs(tmp_path / "list.csv") == [Pair("i 1.jpg", "d 1.png", 256.0), Pair("i2.jpg", "d2.png")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "a b c d\n", r"l\.txt, line 1 has 4 columns, .* names with spaces need a \.csv"),
        ("l.txt", "\na\n", r"l\.txt, line 2 has 1 column,"),
        ("l.txt", "a b focal\n", r"l\.txt, line 1: 'focal' is not a positive number"),
        ("l.csv", "rgb,d\na,b\n", r"l\.csv has the columns \['rgb', 'd'\]; its first line must name image and depth"),
        ("l.csv", "image,depth\na,\n", r"l\.csv, line 2: image or depth is empty"),
        ("l.csv", "image,depth,scale\na,b,-1\n", r"l\.csv, line 2: '-1' is not a positive number"),
    ],
)
def test_lines_that_cannot_be_understood(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_pairs(tmp_path / name)


def test_missing_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list .*x\.txt does not exist"):
        read_pairs(tmp_path / "x.txt")


@pytest.mark.parametrize(("count", "named", "more"), [(20, 39, ""), (80, 100, " and 59 more")])
def test_all_missing_files_are_counted_and_named(tmp_path, count, named, more):
    _touch(tmp_path, "0.jpg", "0.png")
    pairs = [Pair(str(tmp_path / f"{i}.jpg"), str(tmp_path / f"gone/{i}.png")) for i in range(count)]
    with pytest.raises(FileNotFoundError) as error:
        PairedImages(pairs, "split.txt")
    text = str(error.value)
    assert text.startswith(f"split.txt: {2 * count - 1} of {2 * count} files do not exist: ")
    assert text.count(".png") + text.count(".jpg") == named
    assert f"{more}; check the folders" in text


def test_no_pairs(tmp_path):
    with pytest.raises(DataError, match=r"split\.txt names no image"):
        PairedImages([], "split.txt")
