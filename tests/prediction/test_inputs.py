"""Which files are predicted and what their pictures are called."""

import os
from pathlib import Path

import pytest

from pe_dense.prediction.inputs import (
    InputFile,
    check_no_input_is_overwritten,
    check_output_folder,
    find_inputs,
    name_outputs,
)


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(files: list[InputFile]) -> list[str]:
    return [file.name for file in files]


def test_files_folders_patterns(tmp_path: Path) -> None:
    make(
        tmp_path, "a/2.JPG", "a/1 ü.png", "a/notes.txt", "a/._1.png", "a/deep/3.jpg", "b/clip.MOV", "b/raw", "b/[1].jpg"
    )
    out = tmp_path / "out"
    root, files = find_inputs([tmp_path / "a"], out)
    assert (root, names(files)) == (tmp_path / "a", ["1 ü.png", "2.JPG"])
    root, files = find_inputs([tmp_path / "b" / "raw", tmp_path / "a", tmp_path / "a" / "2.JPG"], out)
    assert (root, names(files)) == (tmp_path, ["b/raw", "a/1 ü.png", "a/2.JPG"])
    _, files = find_inputs([str(tmp_path / "**" / "*")], out)
    assert names(files) == ["a/1 ü.png", "a/2.JPG", "a/deep/3.jpg", "b/[1].jpg", "b/clip.MOV"]
    assert [file.is_video for file in files] == [False] * 4 + [True]
    assert names(find_inputs([tmp_path / "b" / "[1].jpg"], out)[1]) == ["[1].jpg"]


def test_pictures_of_an_earlier_run_are_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "1.jpg", "out/1.png")
    monkeypatch.chdir(tmp_path)
    assert names(find_inputs(["**/*"], Path("out"))[1]) == ["1.jpg"]
    assert names(find_inputs(["out/*"], Path("out"))[1]) == ["1.png"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("nix.jpg", "no image, video, folder or pattern match: .*nix.jpg"),
        ("e", "folder .*e holds no image or video; .*"),
    ],
)
def test_nothing_there(tmp_path: Path, entry: str, message: str) -> None:
    make(tmp_path, "e/deep/1.jpg", "2.jpg")
    with pytest.raises(FileNotFoundError, match=message):
        find_inputs([tmp_path / "2.jpg", tmp_path / entry], tmp_path / "out")


def test_no_two_outputs_are_alike() -> None:
    paths = ["x.jpg", "x.webp", "X.png", "x_jpg.png", "d/x.jpg", "x", "v.avi", "v.mkv", "w.mp4", "w.jpg", "a.b.jpg"]
    files = [InputFile(Path("/") / path, path) for path in paths]
    outputs = name_outputs(files, ".png")
    assert len({output.casefold() for output in outputs}) == len(paths)
    assert outputs == [
        "x_jpg_2.png", "x_webp.png", "X_png.png", "x_jpg.png", "d/x.png", "x.png",
        "v_avi.mp4", "v_mkv.mp4", "w.mp4", "w.png", "a.b.png",
    ]  # fmt: skip


def test_files_of_the_same_name_in_several_folders_stay_apart(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b/x.jpg", "b/c/x.jpg", "b/x.png")
    _, files = find_inputs([tmp_path / "a" / "x.jpg", tmp_path / "b", tmp_path / "b" / "c"], tmp_path / "out")
    assert name_outputs(files, ".png") == ["a/x.png", "b/x_jpg.png", "b/x_png.png", "b/c/x.png"]


def test_inputs_are_not_overwritten(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png")
    os.symlink(tmp_path / "a", tmp_path / "link")
    _, files = find_inputs([tmp_path / "a"], tmp_path)
    with pytest.raises(ValueError, match=r"link/1\.png would overwrite an input; choose another output folder"):
        check_no_input_is_overwritten(files, [tmp_path / "link" / "1.png"])


def test_output_folder_must_not_hold_inputs(tmp_path):
    files = [InputFile(tmp_path / "photos" / "1.png", "1.png")]
    check_output_folder(files, tmp_path / "photos" / "drawn")
    with pytest.raises(ValueError, match=r"the output folder .*photos holds inputs; choose another one"):
        check_output_folder(files, tmp_path / "x" / ".." / "photos")
