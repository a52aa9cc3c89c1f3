"""Images with a class per pixel."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from pe_dense.data import DataError, SemSegFolder, count_sem_seg_classes
from pe_dense.data.scenes import write_scenes
from pe_dense.data.sem_seg import read_class_list

MASK = np.array([[0, 1, 2, 255], [2, 1, 0, 0]], dtype=np.uint8)


def _write(root, mask, size=None):
    for folder in ("images", "masks"):
        (root / folder).mkdir(exist_ok=True)
    cv2.imwrite(str(root / "images/a.jpg"), np.full((*(size or mask.shape[:2]), 3), 90, dtype=np.uint8))
    cv2.imwrite(str(root / "masks/a.png"), mask if mask.ndim == 2 else mask[..., ::-1])


def _dataset(root, classes=("sky", "road", "car"), **settings):
    return SemSegFolder(root / "images", root / "masks", classes, **settings)


def test_items(tmp_path):
    _write(tmp_path, MASK)
    dataset = _dataset(tmp_path)
    item = dataset[0]
    assert dataset.classes == ["sky", "road", "car"]
    assert dataset.categories.ids == (0, 1, 2)
    assert dataset.categories.names == ("sky", "road", "car")
    assert item["sem_seg"].dtype == np.uint8
    np.testing.assert_array_equal(item["sem_seg"], MASK)
    np.testing.assert_array_equal(dataset.read_sem_seg(0), MASK)
    assert item["image"].shape == (3, 2, 4)
    assert "sem_seg" not in dataset.unlabelled(0)


def test_embedded_scenes(tmp_path):
    paths = write_scenes(tmp_path, train=2, val=1, size=64, videos=0)
    dataset = SemSegFolder(paths.train_images, paths.train_sem_seg, paths.sem_seg_classes)
    assert len(dataset.classes) == count_sem_seg_classes(paths.sem_seg_classes) == 8
    found = np.unique([dataset[i]["sem_seg"] for i in range(2)])
    assert {0, 1} <= set(found) <= {*range(8), 255}


def test_values_of_the_class_list_become_indices(tmp_path):
    (tmp_path / "c.json").write_text(
        json.dumps([{"name": "road", "id": 7}, {"name": "car", "id": 255}, {"name": "void", "id": 3, "ignore": True}])
    )
    _write(tmp_path, np.array([[7, 255, 3, 9]], dtype=np.uint8))
    dataset = _dataset(tmp_path, tmp_path / "c.json", ignored=[9])
    np.testing.assert_array_equal(dataset.read_sem_seg(0), [[0, 1, 255, 255]])


def test_palette_mask(tmp_path):
    _write(tmp_path, MASK)
    image = Image.new("P", MASK.shape[::-1])
    image.putdata(MASK.ravel().tolist())
    image.putpalette([9, 9, 9] * 256)
    image.save(tmp_path / "masks/a.png")
    np.testing.assert_array_equal(_dataset(tmp_path).read_sem_seg(0), MASK)


def test_coloured_mask(tmp_path):
    colors = np.array([[128, 64, 128], [0, 0, 142], [70, 70, 70]], dtype=np.uint8)
    rows = [{"name": "road", "color": [128, 64, 128]}, {"name": "car", "color": [0, 0, 142]}]
    _write(tmp_path, colors[[[0, 1, 2], [1, 1, 0]]])
    with pytest.raises(DataError, match=r"masks/a\.png is a coloured picture; store one class index per pixel"):
        _dataset(tmp_path).read_sem_seg(0)
    (tmp_path / "c.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"masks/a\.png has the colours \[70, 70, 70\] \(1 pixels\), which are not"):
        _dataset(tmp_path, tmp_path / "c.json").read_sem_seg(0)
    (tmp_path / "c.json").write_text(json.dumps([*rows, {"name": "void", "color": [70, 70, 70], "ignore": True}]))
    found = _dataset(tmp_path, tmp_path / "c.json").read_sem_seg(0)
    np.testing.assert_array_equal(found, [[0, 1, 255], [1, 1, 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_class_outside_the_list(tmp_path, dtype):
    _write(tmp_path, MASK.astype(dtype) + (MASK == 2).astype(dtype) * 38)
    with pytest.raises(DataError, match=r"masks/a\.png has the values 40 \(2 pixels\), .* list of 3 classes; add them"):
        _dataset(tmp_path)[0]


def test_16_bit_masks(tmp_path):
    _write(tmp_path, MASK.astype(np.uint16))
    np.testing.assert_array_equal(_dataset(tmp_path).read_sem_seg(0), MASK)
    _write(tmp_path, np.array([[0, 1000]], dtype=np.uint16))
    with pytest.raises(DataError, match=r"has the values 1000 \(1 pixels\)"):
        _dataset(tmp_path).read_sem_seg(0)


def test_size_mismatch(tmp_path):
    _write(tmp_path, MASK, size=(3, 4))
    with pytest.raises(
        DataError,
        match=r"mask .*masks/a\.png is 4 pixels wide and 2 high but its .*a\.jpg is 4 wide and 3 high",
    ):
        _dataset(tmp_path)[0]


def test_binary_mask_of_0_and_255(tmp_path, caplog):
    _write(tmp_path, np.array([[0, 255]], dtype=np.uint8))
    dataset = _dataset(tmp_path, ["ground", "cell"])
    for _ in range(2):
        dataset.read_sem_seg(0)
    assert len(caplog.records) == 1
    assert "masks/a.png has only the values 0 and 255, and 255 is ignored" in caplog.text


def test_class_files(tmp_path):
    (tmp_path / "c.txt").write_text("sky\n\n road \n")
    assert read_class_list(tmp_path / "c.txt").names == ["sky", "road"]
    (tmp_path / "c.json").write_text('["sky", "road", "car"]')
    assert count_sem_seg_classes(tmp_path / "c.json") == 3


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "has 0 classes"),
        ([str(i) for i in range(255)], "has 255 classes; give 1 to 254"),
        (["a", "b", "a"], "has the name a more than once"),
        ('[{"name": "a", "id": 4}, {"name": "b", "id": 4}]', "has the value 4 more than once"),
        ('[{"name": "a", "id": 300}]', r"has the values \[300\], which an 8-bit mask cannot hold"),
        ('[{"name": "a", "color": "red"}]', "has the color 'red'; give three numbers"),
        ("nonsense", "is not a json list"),
        ("7", "is not a json list"),
    ],
)
def test_bad_class_lists(tmp_path, classes, message):
    if isinstance(classes, str):
        (tmp_path / "c.json").write_text(classes)
        classes = tmp_path / "c.json"
    with pytest.raises(DataError, match=message):
        read_class_list(classes)


def test_missing_class_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"class list .*c\.txt does not exist; give the names"):
        read_class_list(tmp_path / "c.txt")
