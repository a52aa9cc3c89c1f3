import json

import cv2
import numpy as np
import pytest

from pe_dense.data import DataError, training_part, validation_json, validation_part


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Twenty images with one object each, every fifth image empty."""
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    images = [{"id": 3 * i + 1, "file_name": f"{i}.png", "width": 8, "height": 6} for i in range(20)]
    for row in images:
        cv2.imwrite(str(tmp_path / row["file_name"]), np.zeros((6, 8, 3), np.uint8))
    objects = [{"id": i, "image_id": 3 * i + 1, "category_id": 1, "bbox": [1, 1, 4, 3]} for i in range(20) if i % 5]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "own.json").write_text(json.dumps(content))
    return str(tmp_path / "own.json"), str(tmp_path)


def test_parts_are_disjoint_fixed_and_complete(own):
    train, val = training_part(*own, skip_empty=False), validation_part(*own)
    assert len(val) == 4
    assert sorted([*train.image_ids, *val.image_ids]) == [3 * i + 1 for i in range(20)]
    assert not set(train.image_ids) & set(val.image_ids)
    assert list(validation_part(*own).image_ids) == list(val.image_ids)
    assert list(validation_part(*own, split_seed=1).image_ids) != list(val.image_ids)


def test_empty_images_are_left_out_of_training_only(own):
    train = training_part(*own)
    assert not [i for i in train.image_ids if (i - 1) % 15 == 0]
    every = {*training_part(*own, skip_empty=False).image_ids}
    assert {i for i in every if (i - 1) % 15} == set(train.image_ids)


def test_a_separate_validation_set_leaves_all_for_training(own):
    json_file, root = own
    assert len(training_part(json_file, root, val_json=json_file, skip_empty=False)) == 20
    assert len(validation_part(json_file, root, val_json=json_file)) == 20
    assert validation_json(json_file, "other.json") == "other.json"
    assert validation_json(json_file) == json_file


def test_validation_images_need_a_validation_json(own):
    with pytest.raises(DataError, match=r"val_images is other but there is no val_json; give both"):
        validation_part(*own, val_images="other")


@pytest.mark.parametrize("fraction", [0.0, 0.01, 1.0])
def test_fraction_that_leaves_nothing(own, fraction):
    with pytest.raises(DataError, match=r"own\.json has 20 images: data\.val_fraction .* one part empty"):
        validation_part(*own, val_fraction=fraction)


def test_log_says_the_split(own, caplog):
    with caplog.at_level("INFO"):
        train = training_part(*own)
        training_part(*own, skip_empty=False)
        training_part(*own, val_json=own[0])
    lines = [r.getMessage() for r in caplog.records if "held out" in r.getMessage()]
    assert lines == [
        f"{own[0]}: 20 images: 16 to train ({len(train)} with objects), 4 held out for validation",
        f"{own[0]}: 20 images: 16 to train, 4 held out for validation",
    ]
