"""Folders of sequences with masks for all or some frames."""

import pickle

import cv2
import numpy as np
import pytest

from pe_dense.data import DataError, VideoFolder, VideoSequences, write_indexed_png
from pe_dense.data.video_sequences import frame_files, read_list


def mask(*numbers):
    """4 x 6, a column for each number."""
    labels = np.zeros((4, 6), dtype=np.uint8)
    labels[:, : len(numbers)] = numbers
    return labels


def write_masks(folder, **masks):
    for frame, labels in masks.items():
        write_indexed_png(folder / f"{frame.removeprefix('f')}.png", labels)


def write_images(folder, *frames):
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        cv2.imwrite(str(folder / f"{frame}.jpg"), np.full((4, 6, 3), 90, np.uint8))


@pytest.fixture
def root(tmp_path):
    write_masks(tmp_path / "masks" / "cat", f0=mask(1, 3), f2=mask(1, 4, 255))
    write_masks(tmp_path / "masks" / "dog", f0=mask(255, 2), f1=mask(2))
    write_images(tmp_path / "images" / "cat", 0, 1, 2, 10, 9)
    write_images(tmp_path / "images" / "dog", 0, 1)
    (tmp_path / "masks" / ".cache").mkdir()
    (tmp_path / "masks" / "notes.txt").touch()
    return tmp_path


def test_folder_with_images(root):
    data = VideoFolder(root / "masks", root / "images")
    assert [s.name for s in data] == ["cat", "dog"]
    cat = data[0]
    assert cat.frames == ("0", "1", "2", "9", "10")
    assert list(cat.annotations) == ["0", "2"]
    assert cat.objects == {1: "0", 2: "0", 3: "0"}  # not 4, which appears later, nor void
    assert data[1].objects == {1: "0", 2: "0"}
    assert cat.read_image("9").shape == (4, 6, 3)
    np.testing.assert_array_equal(cat.read_labels("2"), mask(1, 4, 255))
    with pytest.raises(FileNotFoundError, match=r"sequence cat has no mask of frame 1 \(it has 2\)"):
        cat.read_labels("1")
    assert pickle.loads(pickle.dumps(cat)) == cat


def test_masks_only(root):
    data = VideoFolder(root / "masks")
    assert data[0].frames == ("0", "2")
    with pytest.raises(FileNotFoundError, match="no image of frame 0"):
        data[0].read_image("0")


def test_selections(root):
    data = VideoFolder(root / "masks", sequences=["dog", "dog", "cat"])
    assert [s.name for s in data] == ["dog", "cat"]
    assert len(data.select(["cat"])) == 1
    assert len(data) == 2
    with pytest.raises(DataError, match=r"has no sequence cow, pig \(2 of 3 missing; there is cat, dog\)"):
        data.select(["cow", "cat", "pig"])
    (root / "list.txt").write_text("\ufeffdog\n\ncow\npig\n")
    with pytest.raises(DataError, match=r"masks has no folder of the sequence cow, pig \(2 of 3 missing"):
        VideoFolder(root / "masks", sequences=root / "list.txt")
    (root / "list.txt").write_text("dog\n")
    assert [s.name for s in VideoFolder(root / "masks", sequences=root / "list.txt")] == ["dog"]


def test_lists(root):
    file = root / "list.txt"
    file.write_text(
        "/JPEGImages/480p/cat/0.jpg /Annotations/480p/cat/0.png\n/JPEGImages/480p/cat/1.jpg x\n/a/b/dog/0.jpg\n"
    )
    assert read_list(file) == ["cat", "dog"]
    file.write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        read_list(file)
    with pytest.raises(FileNotFoundError, match=r"none.txt does not exist"):
        read_list(root / "none.txt")


def test_incomplete_data(root):
    (root / "masks" / "empty").mkdir()
    with pytest.raises(DataError, match=r"1 sequence without a mask \(.png\): empty"):
        VideoFolder(root / "masks")
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"):
        VideoFolder(root / "nowhere")
    (root / "images" / "dog" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks the images of 1 mask of .*: dog/1;"):
        VideoFolder(root / "masks", root / "images", ["cat", "dog"])
    with pytest.raises(DataError, match="has no sequence"):
        VideoSequences([], root)


def test_two_files_of_one_frame(root):
    cv2.imwrite(str(root / "images" / "dog" / "1.png"), np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DataError, match="are the same frame; remove one"):
        frame_files(root / "images" / "dog", {".jpg", ".png"})


def test_a_foreground_mask_is_no_mask_of_objects(root):
    write_masks(root / "masks" / "dog", f0=mask(255))
    with pytest.raises(DataError, match=r"dog.0.png has no object, only 255 \(void\).* read the set as DAVIS 2016"):
        _ = VideoFolder(root / "masks")[1].objects
