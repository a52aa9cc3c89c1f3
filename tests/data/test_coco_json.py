"""Reading COCO json: what is accepted, left out with a count, or refused."""

import copy
import re

import numpy as np
import pytest

from pe_dense.data.coco_json import parse_coco
from pe_dense.data.errors import DataError


def _with(content, **changes):
    """A copy whose first annotation has other fields (``None`` removes one)."""
    changed = copy.deepcopy(content)
    row = changed["annotations"][0]
    for key, value in changes.items():
        if value is None:
            del row[key]
        else:
            row[key] = value
    return changed


def test_arrays_follow_the_images_and_categories_are_contiguous(content, write):
    table = parse_coco(write(content))
    assert table.categories.ids == (2, 90)
    assert [table.file_name(i) for i in range(2)] == ["a.png", "b.png"]
    assert table.image_size(0) == (40, 60)
    objects = table.objects(0)
    assert objects.ids.tolist() == [11, 12]
    np.testing.assert_array_equal(objects.boxes, [[10, 5, 30, 15], [0, 0, 1, 40]])
    assert objects.classes.tolist() == [1, 0]
    assert objects.crowd.tolist() == [False, True]
    np.testing.assert_array_equal(objects.segmentations[0][0], [[10, 5], [30, 5], [30, 15], [10, 15]])
    assert objects.segmentations[1]["size"] == [40, 60]
    assert len(table.objects(1)) == 0


def test_objects_out_of_order_and_several_polygons(content, write):
    triangle = [1, 1, 9, 1, 5, 9]
    content["annotations"].insert(
        0, {"image_id": 3, "category_id": 2, "bbox": [1, 1, 8, 8], "segmentation": [triangle] * 2}
    )
    table = parse_coco(write(content))
    assert table.objects(0).ids.tolist() == [11, 12]
    last = table.objects(1)
    assert last.ids.tolist() == [-1]  # no id in the json: its place
    assert len(last.segmentations[0]) == 2
    np.testing.assert_array_equal(last.segmentations[0][1].reshape(-1), triangle)


def test_optional_fields_may_be_absent(content, write):
    for row in content["images"]:
        del row["height"], row["width"]
    for key in ("iscrowd", "area", "segmentation", "id"):
        del content["annotations"][0][key]
    content["annotations"][1]["iscrowd"] = None
    table = parse_coco(write(content))
    assert table.image_size(0) is None
    objects = table.objects(0)
    assert objects.segmentations[0] is None
    assert not objects.crowd.any()


def test_byte_order_mark(content, write):
    path = write(content)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(parse_coco(path)) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [5, 5, 0, 5]}, "zero or negative"),
        ({"bbox": [5, 5, 5, -1]}, "zero or negative"),
        ({"bbox": [5, 5, float("nan"), 5]}, "NaN"),
        ({"bbox": [5, 5, float("inf"), 5]}, "NaN or infinite"),
        ({"bbox": [60, 5, 5, 5]}, "outside"),
        ({"bbox": [-9, 5, 5, 5]}, "outside"),
    ],
)
def test_useless_boxes_are_left_out_and_counted(content, write, change, reason):
    table = parse_coco(write(_with(content, **change)))
    assert table.objects(0).ids.tolist() == [12]
    ((why, (count, examples)),) = table.skipped.items()
    assert reason in why
    assert (count, examples) == (1, [11])


def test_boxes_are_clipped(content, write):
    table = parse_coco(write(_with(content, bbox=[-5, -5, 15, 500])))
    np.testing.assert_array_equal(table.objects(0).boxes[0], [0, 0, 10, 40])


def _boxes(content, boxes):
    """The content with these boxes, all in the image of 60 x 40 pixels."""
    row = {key: value for key, value in content["annotations"][0].items() if key != "segmentation"}
    return {**content, "annotations": [{**row, "id": 100 + i, "bbox": box} for i, box in enumerate(boxes)]}


def test_corners_given_as_sizes_are_suspected(content, write):
    corners = [[2, 3, 20, 10], [30, 5, 59, 20], [40, 20, 60, 40], [1, 25, 30, 39]]
    doubts = parse_coco(write(_boxes(content, corners))).doubts
    assert doubts == (
        "3 boxes of 4 reach beyond their image, such as bbox [30.0, 5.0, 59.0, 20.0] of annotation 101 in an image "
        "60 pixels wide and 40 high; they look like corners x0, y0, x1, y1: write x, y, width, height"
    )
    sizes = [[x, y, right - x, bottom - y] for x, y, right, bottom in corners]
    assert parse_coco(write(_boxes(content, sizes))).doubts == ""


@pytest.mark.parametrize(
    "boxes",
    [
        [[0, 0, 60, 40], [1, 1, 60, 40]],  # filling the image, one pixel too much
        [[50, 30, 14, 9], [20, 10, 9, 9], [45, 20, 12, 5]],  # one reaches beyond; no corners
        [[2, 3, 4, 5]] * 40 + [[30, 20, 50, 39]],  # a single one
    ],
)
def test_careless_sizes_are_not_taken_for_corners(content, write, boxes):
    assert parse_coco(write(_boxes(content, boxes))).doubts == ""


def test_corners_cannot_be_told_without_the_size_of_the_image(content, write):
    content = _boxes(content, [[30, 5, 59, 20]])
    del content["images"][0]["height"], content["images"][0]["width"]
    assert parse_coco(write(content)).doubts == ""


def test_bad_polygons_are_left_out_and_counted(content, write):
    good = [1, 1, 9, 1, 5, 9]
    polygons = [[1, 1, 9, 9], good, [1, 1, float("nan"), 1, 5, 9], []]
    table = parse_coco(write(_with(content, segmentation=polygons)))
    (left,) = table.objects(0).segmentations[0]
    np.testing.assert_array_equal(left.reshape(-1), good)
    counts = {why: count for why, (count, _) in table.skipped.items()}
    assert counts == {"polygon with fewer than three points": 2, "polygon with NaN or infinite numbers": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 4}, r"annotation id 11 has image_id 4"),
        ({"category_id": 1}, r"annotation id 11 has category_id 1,"),
        ({"image_id": None}, r"annotation id 11 has no 'image_id'"),
        ({"category_id": None}, r"annotation id 11 has no 'category_id'"),
        ({"bbox": None}, r"annotation id 11 has no 'bbox'"),
        ({"bbox": [1, 2, 3]}, r"annotation id 11 has bbox \[1, 2, 3\]"),
        ({"bbox": "big"}, r"annotation id 11 has bbox 'big'"),
        ({"id": "x"}, r"annotation id x has an id that is not an integer"),
        ({"iscrowd": "yes"}, r"annotation id 11 has iscrowd 'yes'"),
        ({"segmentation": "mask.png"}, r"annotation id 11 has a segmentation"),
        ({"segmentation": [1, 1, 9, 1, 5, 9]}, r"annotation id 11 has a polygon"),
        ({"segmentation": [[1, 1, 9, 1, 5, 9, 4]]}, r"annotation id 11 has a polygon"),
        ({"segmentation": [[1, 1, 9, "1", 5, 9]]}, r"annotation id 11 has a polygon"),
        ({"segmentation": {"size": [40, 60], "counts": [0, 40]}}, r"annotation id 11 has a malformed run-length"),
        ({"segmentation": {"size": [40, 60], "counts": [-40, 2440]}}, r"annotation id 11 has a malformed run-length"),
        ({"segmentation": {"size": [40, 60], "counts": "zzz"}}, r"annotation id 11 has a malformed run-length"),
        ({"segmentation": {"size": [40, 60], "counts": ""}}, r"annotation id 11 has a malformed run-length"),
        ({"segmentation": {"size": [40, 60]}}, r"annotation id 11 has a run-length encoding without 'counts'"),
        ({"segmentation": {"size": [60, 40], "counts": [0, 2400]}}, r"annotation id 11 .* size \[60, 40\] in an image"),
        ({"segmentation": {"size": 5, "counts": [5]}}, r"annotation id 11 has a run-length encoding with size 5"),
    ],
)
def test_malformed_annotations_are_named(content, write, change, message):
    path = write(_with(content, **change))
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        parse_coco(path)


def test_malformed_annotation_without_id_is_numbered(content, write):
    with pytest.raises(DataError, match=r"annotation number 0 has image_id 99"):
        parse_coco(write(_with(content, id=None, image_id=99)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("id", 3, r"image id 3 appears more than once"),
        ("id", "7", r"image number 0 has no integer 'id'"),
        ("file_name", "", r"image id 7 has no 'file_name'"),
        ("file_name", "../a.png", r"'../a.png' of image id 7 leaves the image root"),
        ("file_name", "x/../../a.png", r"leaves the image root"),
        ("file_name", "/etc/a.png", r"leaves the image root"),
        ("file_name", "C:\\a.png", r"leaves the image root"),
        ("height", 0, r"image id 7 has height, width \(0, 60\)"),
        ("height", None, r"image id 7 has height, width \(None, 60\)"),
    ],
)
def test_malformed_images_are_named(content, write, key, value, message):
    content["annotations"] = []
    content["images"][0][key] = value
    with pytest.raises(DataError, match=message):
        parse_coco(write(content))


def test_dots_within_a_name_are_fine(content, write):
    content["images"][0]["file_name"] = "a..b:c.png"
    assert parse_coco(write(content)).file_name(0) == "a..b:c.png"


@pytest.mark.parametrize("field", ["images", "annotations", "categories"])
def test_required_lists(content, write, field):
    del content[field]
    with pytest.raises(DataError, match=f"has no list '{field}'"):
        parse_coco(write(content))


def test_repeated_and_missing_categories(content, write):
    content["categories"].append({"id": 2, "name": "again"})
    with pytest.raises(DataError, match=r"category ids \[2\] appear more than once"):
        parse_coco(write(content))
    content["categories"] = []
    with pytest.raises(DataError, match="has no categories"):
        parse_coco(write(content))


def test_not_json_says_where(content, write):
    with pytest.raises(DataError, match=r"not valid json: .* line 2 column 3 .*cut short"):
        parse_coco(write(content, text='{"images":\n  oops}'))


def test_results_file_is_recognised(content, write):
    with pytest.raises(DataError, match="results file"):
        parse_coco(write([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist; set json_file"):
        parse_coco(tmp_path / "nowhere.json")
