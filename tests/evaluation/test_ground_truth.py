"""Reading ground truth: what is accepted and what is refused."""

import json

import pytest
from coco_cases import random_case

from pe_dense.evaluation.ground_truth import GroundTruth


@pytest.fixture
def write(tmp_path):
    def _write(truth):
        file = tmp_path / "truth.json"
        file.write_text(truth if isinstance(truth, str) else json.dumps(truth))
        return file

    return _write


@pytest.fixture
def truth():
    return random_case(0)[0]


def test_columns_in_id_order(write, truth):
    read = GroundTruth.from_json(write(truth))
    assert read.image_ids.tolist() == sorted(i["id"] for i in truth["images"])
    first, kept = truth["annotations"][0], read.coco.anns[1]
    assert read.image_ids[kept["image_id"] - 1] == first["image_id"]
    assert read.categories.ids[kept["category_id"] - 1] == first["category_id"]
    assert kept["bbox"] == first["bbox"]
    assert read.tasks == ("bbox", "segm")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ground truth file .*gt\.json does not exist"):
        GroundTruth.from_json(tmp_path / "gt.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not valid json"), ("[]", "no list 'images'"), ('{"images": []}', "no list 'categories'")],
)
def test_not_a_coco_json(write, text, message):
    with pytest.raises(ValueError, match=message):
        GroundTruth.from_json(write(text))


def test_without_annotations(write, truth):
    with pytest.raises(ValueError, match="empty 'annotations'"):
        GroundTruth.from_json(write({**truth, "annotations": []}))
    del truth["annotations"]
    with pytest.raises(ValueError, match="without annotations cannot be evaluated"):
        GroundTruth.from_json(write(truth))


def test_segm_without_masks(write, truth):
    truth["annotations"][4]["segmentation"] = []
    culprit = truth["annotations"][4]["id"]
    with pytest.raises(ValueError, match=rf"first has id {culprit}\) without 'segmentation', .*tasks=\('bbox',\)"):
        GroundTruth.from_json(write(truth))
    assert GroundTruth.from_json(write(truth), None).tasks == ("bbox",)
    assert GroundTruth.from_json(write(truth), ("bbox",)).tasks == ("bbox",)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("images", {"id": "a7"}, "image 0 has id 'a7', which is not an integer"),
        ("annotations", {"image_id": 123456}, "has image_id 123456, which is not in the file"),
        ("annotations", {"category_id": 123456}, "has category_id 123456, which is not in the file"),
        ("annotations", {"bbox": [1, 2, 3]}, "not 4 finite numbers"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, "annotation 1 has bbox .*not 4 finite numbers"),
        ("annotations", {"segmentation": [[1, 2, 3, 4]]}, "no polygon of at least three points"),
        ("annotations", {"segmentation": {"size": [5, 5], "counts": [25]}}, r"RLE of size \[5, 5\]"),
    ],
)
def test_faulty_entry(write, truth, part, change, message):
    truth[part][0].update(change)
    if part == "images":
        truth["annotations"] = truth["annotations"][-1:]
    with pytest.raises(ValueError, match=message):
        GroundTruth.from_json(write(truth))


def test_repeated_image_id(write, truth):
    truth["images"].append(truth["images"][0])
    with pytest.raises(ValueError, match=f"image id {truth['images'][0]['id']} more than once"):
        GroundTruth.from_json(write(truth))


def test_unknown_task(write, truth):
    with pytest.raises(ValueError, match="unknown evaluation task 'keypoints'"):
        GroundTruth.from_json(write(truth), ("keypoints",))


def test_thin_polygons_are_left_out(write, truth, caplog):
    polygons = next(a["segmentation"] for a in truth["annotations"] if isinstance(a["segmentation"], list))
    polygons.append([1, 2, 3, 4])
    GroundTruth.from_json(write(truth))
    assert "left out 1 polygon with" in caplog.text
