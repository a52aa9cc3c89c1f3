"""A folder of images per class."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.data import ClassFolder, DataError, build_test_loader, build_train_loader, count_folder_classes


def write(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((12, 20, 3), value, dtype=np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in (("n02", 2), ("n01", 3)):
        for i in range(count):
            write(tmp_path / "train" / name / f"{i}.png", 10 * i)
    write(tmp_path / "train" / "n02" / "deeper" / "9.JPEG", 90)
    write(tmp_path / "val" / "n02" / "0.png")
    (tmp_path / "train" / "n01" / "notes.txt").write_text("")
    (tmp_path / "train" / ".hidden").mkdir()
    return tmp_path


def test_classes_are_the_folders(root: Path) -> None:
    data = ClassFolder(root / "train")
    assert data.classes == ["n01", "n02"]
    assert len(data) == 6
    assert [data.label(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert data.file_name(5).endswith("n02/deeper/9.JPEG")
    item = data[1]
    assert item["image"].shape == (3, 12, 20)
    assert (item["label"], item["image_id"], item["height"], item["width"]) == (0, 1, 12, 20)
    assert count_folder_classes(root / "train") == 2
    test = ClassFolder(root / "val", classes_of=root / "train")
    assert (test.classes, test.label(0)) == (["n01", "n02"], 1)
    assert next(iter(build_test_loader(test, [], num_workers=0)))[0]["label"] == 1
    assert {s["label"] for s in next(build_train_loader(data, [], 6, num_workers=0).iterate())} == {0, 1}


def test_folders_that_cannot_be_used(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist; give one with a folder of images for each"):
        ClassFolder(root / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"n01 has no folder in it"):
        ClassFolder(root / "train" / "n01")
    (root / "train" / "n00").mkdir()
    (root / "train" / "n09").mkdir()
    with pytest.raises(DataError, match=r"2 of 4 classes have no image \(n00, n09\): add images"):
        ClassFolder(root / "train")
    with pytest.raises(DataError, match=r"folders that are no classes of .*val: n00, n01, n09"):
        ClassFolder(root / "train", classes_of=root / "val")
    (root / "val" / "n02" / "0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"0\.png cannot be decoded"):
        next(iter(build_test_loader(ClassFolder(root / "val"), [], num_workers=0)))
