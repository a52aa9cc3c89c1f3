"""Images without annotations."""

import cv2
import numpy as np
import pytest

from pe_dense.data import DataError, ImageFolder, ResizeShortestEdge, build_test_loader


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for i, name in enumerate(["b.png", "a.JPG", "below/c.png"]):
        cv2.imwrite(str(tmp_path / name), np.full((10, 20 + i, 3), 50, dtype=np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_folder_file_pattern_and_list(folder):
    assert [f.name for f in ImageFolder(folder).files] == ["a.JPG", "b.png"]
    assert [f.name for f in ImageFolder(f"{folder}/**/*.png").files] == ["b.png", "c.png"]
    assert [f.name for f in ImageFolder([folder / "b.png", folder / "below"]).files] == ["b.png", "c.png"]


def test_items_and_loader(folder):
    images = ImageFolder(folder)
    assert images[1]["width"] == 20
    samples = [s for batch in build_test_loader(images, [ResizeShortestEdge(5)], 2, num_workers=0) for s in batch]
    assert [tuple(s["image"].shape) for s in samples] == [(3, 5, 11), (3, 5, 10)]
    assert [(s["height"], s["width"], s["image_id"]) for s in samples] == [(10, 21, 0), (10, 20, 1)]
    assert samples[0]["file_name"] == str(folder / "a.JPG")


def test_nothing_there(folder):
    with pytest.raises(FileNotFoundError, match=r"\*\.gif"):
        ImageFolder(str(folder / "*.gif"))
    (folder / "hollow").mkdir()
    with pytest.raises(FileNotFoundError, match="hollow holds no image"):
        ImageFolder(folder / "hollow")
    with pytest.raises(FileNotFoundError, match="empty"):
        ImageFolder([])


def test_listed_file_that_is_no_image(folder):
    with pytest.raises(DataError, match=r"notes\.txt cannot be decoded"):
        ImageFolder(folder / "notes.txt")[0]
