"""What an LVIS json has beyond a COCO json: where its images are, counts of images, classes that were searched for."""

import json

import cv2
import numpy as np
import pytest

from pe_dense.data import CocoDataset, DataError, class_image_counts
from pe_dense.data.coco_json import parse_coco
from pe_dense.data.lvis_json import lvis_file_name

URL = "http://images.cocodataset.org/{}2017/{:012}.jpg"


@pytest.fixture
def lvis(content):
    """The two images of ``content`` under the names of LVIS version 1."""
    for row, part in zip(content["images"], ("train", "val")):
        del row["file_name"]
        row.update(coco_url=URL.format(part, row["id"]), neg_category_ids=[2], not_exhaustive_category_ids=[])
    for row, count in zip(content["categories"], (5, 700)):
        row.update(frequency="c", image_count=count, instance_count=9)
    return content


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"neg_category_ids": [], "coco_url": URL.format("train", 9)}, "train2017/000000000009.jpg"),
        ({"neg_category_ids": [], "coco_url": URL.format("val", 9), "file_name": "COCO_val2014_000000000009.jpg"},
         "val2017/000000000009.jpg"),
        ({"coco_url": URL.format("test", 9)}, "test2017/000000000009.jpg"),
        ({"neg_category_ids": [], "file_name": "COCO_val2014_000000000009.jpg"}, "000000000009.jpg"),
        ({"neg_category_ids": [], "file_name": "000000000009.jpg"}, None),
        ({"coco_url": URL.format("val", 9), "file_name": "000000000009.jpg"}, None),
        ({"file_name": "COCO_val2014_000000000009.jpg"}, None),
    ],
    ids=["v1", "v0.5", "without labels", "v0.5 without url", "own name", "COCO 2017", "COCO 2014"],
)  # fmt: skip
def test_where_images_are(row, name):
    assert lvis_file_name(row) == name


def test_images_are_found_in_both_folders_of_coco(lvis, write):
    path = write(lvis)
    for row, part in zip(lvis["images"], ("train", "val")):
        folder = path.parent / "coco" / f"{part}2017"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f"{row['id']:012}.jpg"), np.zeros((row["height"], row["width"], 3), dtype=np.uint8))
    dataset = CocoDataset(path, path.parent / "coco")
    dataset.check_images()
    assert [dataset[i]["file_name"].rpartition("coco/")[2] for i in range(2)] == [
        "train2017/000000000007.jpg", "val2017/000000000003.jpg",
    ]  # fmt: skip
    (folder / "000000000003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 images of .* val2017/000000000003.jpg; set image_root"):
        dataset.check_images()


def test_an_address_may_not_leave_the_folder(lvis, write):
    lvis["images"][0]["coco_url"] = "http://images/../x.jpg"
    with pytest.raises(DataError, match="leaves the image root"):
        parse_coco(write(lvis))


def test_counts_of_images(lvis, write):
    assert class_image_counts(write(lvis)) == [700, 5]  # by ascending id


def test_counts_are_counted_where_the_json_has_none(content, write):
    first = content["annotations"][0]
    content["annotations"] += [{**first, "id": 13}, {**first, "id": 14, "image_id": 3}]
    assert class_image_counts(write(content)) == [0, 2]  # the object of the other class is a crowd


def test_a_real_json(real_data):
    path = real_data / "coco_eval_val2014_100" / "lvis_val_100.json"
    table, counts = parse_coco(path), class_image_counts(path)
    assert len(table) == 100
    assert table.num_objects == 977
    assert all(table.file_name(i).startswith("val2017/000000") for i in range(100))
    rows = {c["id"]: c["image_count"] for c in json.loads(path.read_text())["categories"]}
    assert counts == [rows[i] for i in table.categories.ids]
    assert max(counts) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(category_id=5), "annotation id 11 has category_id 5, which is not in"),
        (lambda c: c["images"][1]["neg_category_ids"].append(5), "image id 3 has 5 in neg_category_ids, which"),
        (lambda c: c["images"][0].update(not_exhaustive_category_ids=["x"]), "image id 7 has 'x' in not_exhaustive"),
        (lambda c: c["images"][0].update(neg_category_ids=2), "image id 7 has neg_category_ids 2; write a list"),
        (lambda c: c["categories"][1].update(image_count="many"), "category id 2 has image_count 'many'; write"),
    ],
)
def test_faulty_json(lvis, write, change, message):
    change(lvis)
    with pytest.raises(DataError, match=message):
        parse_coco(write(lvis))
