"""Objects365 v2: its json, folders and flags."""

import json
import logging

import cv2
import numpy as np
import pytest

from pe_dense.data import MappedDataset, Objects365, build_train_loader
from pe_dense.data.objects365 import OTHER_SIZE

V1, V2 = "images/v1/patch8/objects365_v1_00420917.jpg", "images/v2/patch16/objects365_v2_00900001.jpg"
GONE = "images/v2/patch16/objects365_v2_00908726.jpg"  # one of the three that are in no archive
TURNED = f"images/v2/patch44/{OTHER_SIZE[0]}"
LAYOUTS = {
    "archives of the training part": lambda name: name.split("/", 2)[2],
    "archives of the validation part": lambda name: name,
    "folders of versions": lambda name: name.split("/", 1)[1],
    "one folder": lambda name: name.rpartition("/")[2],
}


def annotation(number, image, category, **flags):
    """As the official json writes it: there are no masks."""
    box = {"id": number, "image_id": image, "category_id": category, "bbox": [4.25, 2.5, 20.0, 10.0], "area": 200.0}
    return {**box, "iscrowd": 0, "isfake": 0, "isreflected": 0, **flags}


def content():
    return {
        "images": [
            {"id": 420917, "file_name": V1, "height": 40, "width": 60, "license": 5, "url": ""},
            {"id": 900001, "file_name": V2, "height": 30, "width": 50, "license": 5, "url": ""},
            {"id": 908726, "file_name": GONE, "height": 30, "width": 50, "license": 5, "url": ""},
            {"id": 2024631, "file_name": TURNED, "height": 50, "width": 30, "license": 5, "url": ""},
        ],
        "annotations": [
            annotation(1, 420917, 365),
            annotation(2, 420917, 1, isfake=1),
            annotation(3, 420917, 2, iscrowd=1),
            annotation(4, 900001, 7, isfake=1, isreflected=1),
            annotation(5, 908726, 7),
            annotation(6, 2024631, 7),
        ],
        "categories": [{"id": i, "name": f"thing {i}"} for i in range(1, 366)],
    }


def write(folder, layout="archives of the training part", content=content, images=(V1, V2, TURNED)):
    (folder / "train").mkdir()
    for name in images:
        path = folder / "train" / LAYOUTS[layout](name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (40, 60, 3) if name == V1 else (30, 50, 3)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
    path = folder / "zhiyuan_objv2_train.json"
    path.write_text(json.dumps(content()))
    return path, folder / "train"


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_of_the_folders(tmp_path, layout, caplog):
    with caplog.at_level(logging.INFO):
        dataset = Objects365(*write(tmp_path, layout))
    assert len(dataset.categories) == 365
    assert dataset.image_ids.tolist() == [420917, 900001]
    assert dataset.missing == [LAYOUTS[layout](GONE)]
    (warning,) = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.endswith(f"1 image of 4 not in {tmp_path / 'train'}, left out: {LAYOUTS[layout](GONE)}")
    assert "1 image left out by name" in caplog.text
    assert [dataset[i]["image"].shape[1:] for i in range(2)] == [(40, 60), (30, 50)]
    assert dataset.file_name(0) == LAYOUTS[layout](V1)
    [batch] = [next(build_train_loader(dataset, [], batch_size=2, num_workers=0).iterate(0))]
    assert sorted(s["image_id"] for s in batch) == [420917, 900001]


def test_flags(tmp_path):
    """Crowds are kept apart as in COCO; what is marked as fake is learnt like the rest, or not at all."""
    path, images = write(tmp_path)
    usual, without = Objects365(path, images), Objects365(path, images, skip_fake=True)
    assert usual.annotations(0).ids.tolist() == [1, 2, 3]
    assert usual.annotations(0).crowd.tolist() == [False, False, True]
    assert without.annotations(0).ids.tolist() == [1, 3]
    assert without.annotations(1).ids.tolist() == []
    np.testing.assert_array_equal(usual.annotations(0).boxes[0], [4.25, 2.5, 24.25, 12.5])
    assert MappedDataset(usual)[0]["instances"].classes.tolist() == [364, 0]  # ids 365 and 1
    assert MappedDataset(without)[0]["instances"].classes.tolist() == [364]
    assert len(Objects365(path, images, skip_empty=True)) == 2
    assert Objects365(path, images, skip_empty=True, skip_fake=True).image_ids.tolist() == [420917]


def test_what_is_not_used_can_be_chosen(tmp_path):
    path, images = write(tmp_path)
    assert len(Objects365(path, images, leave_out=[])) == 3
    assert Objects365(path, images, leave_out=["objects365_v1_00420917.jpg"]).image_ids.tolist() == [900001, 2024631]


def test_all_images_missing(tmp_path):
    path, images = write(tmp_path, images=())
    with pytest.raises(FileNotFoundError, match=r"4 of the 4 images .* not in .*train.*; set image_root"):
        Objects365(path, images)
