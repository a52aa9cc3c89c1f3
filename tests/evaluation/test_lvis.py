"""Numbers equal to an independent implementation; what nobody looked for does not count; bad input is an error."""

import json

import numpy as np
import pytest
from lvis_cases import NAMES, assert_same, lvis_oracle, moved_objects, small_case
from pycocotools import mask as coco_mask

from pe_dense.evaluation import evaluate_coco_results, evaluate_lvis_results, is_lvis


def write(folder, truth):
    file = folder / "truth.json"
    file.write_text(json.dumps(truth))
    return file


@pytest.fixture
def case(tmp_path):
    """Ground-truth file, ground truth and results."""
    truth, rows = small_case()
    return write(tmp_path, truth), truth, rows


@pytest.fixture(scope="module")
def real_case(real_data):
    file = real_data / "coco_eval_val2014_100" / "lvis_val_100.json"
    truth = json.loads(file.read_text())
    return file, truth, moved_objects(truth)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_equals_an_independent_implementation(real_case, task):
    file, truth, rows = real_case
    images = None if task == "bbox" else [i["id"] for i in truth["images"][:40]]  # masks take long there
    metrics = evaluate_lvis_results(file, rows, (task,), image_ids=images)
    expected, by_class = lvis_oracle(truth, rows, task, image_ids=images)
    assert tuple(expected) == NAMES
    assert all(0 < expected[name] < 1 for name in NAMES if name != "APr")  # a single rare class has objects
    assert_same(metrics, task, expected)
    names = {c["id"]: c["name"] for c in truth["categories"]}
    assert len(set(names.values())) == len(names)
    assert_same(metrics, task, {f"AP-{names[c]}": value for c, value in by_class.items()})


@pytest.mark.parametrize("limit", [1, 4])
def test_limit_is_per_image_over_all_classes(case, limit):
    file, truth, rows = case
    metrics = evaluate_lvis_results(file, rows, max_detections=limit)
    for task in ("bbox", "segm"):
        expected, _ = lvis_oracle(truth, rows, task, limit)
        expected[f"AR{limit}"] = expected.pop("AR300")
        assert_same(metrics, task, expected)
    assert metrics["bbox/AP"] != evaluate_lvis_results(file, rows)["bbox/AP"]


def test_more_than_300_detections(case):
    file, truth, rows = case
    rows = [{**row, "score": row["score"] - 1e-4 * i} for i in range(30) for row in rows]
    assert max(sum(r["image_id"] == i["id"] for r in rows) for i in truth["images"]) > 300
    for limit in (300, 400):
        metrics = evaluate_lvis_results(file, rows, ("bbox",), max_detections=limit)
        expected = lvis_oracle(truth, rows, "bbox", limit)[0]
        assert_same(metrics, "bbox", {k: v for k, v in expected.items() if "AR" not in k})


def test_what_has_no_area_does_not_count(case):
    """Neither right nor wrong, as in LVIS's own evaluation; but it takes one of an image's 300 places."""
    file, truth, _ = case
    rows = []
    for row in truth["annotations"]:
        (rle,) = coco_mask.frPyObjects(row["segmentation"], 100, 100)
        rle["counts"] = rle["counts"].decode()
        rows.append({k: row[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5, "segmentation": rle})
    none = {"size": [100, 100], "counts": "`h9"}  # 10,000 pixels of background
    rows += [{**rows[0], "score": 0.9, "bbox": [50, 50, 0, 10], "segmentation": none}] * 2
    for limit, complete in ((5, True), (4, False)):  # the image has three objects
        metrics = evaluate_lvis_results(file, rows, max_detections=limit)
        for task in ("bbox", "segm"):
            expected, _ = lvis_oracle(truth, rows, task, limit)
            expected[f"AR{limit}"] = expected.pop("AR300")
            assert_same(metrics, task, expected)
            assert (metrics[f"{task}/AP"] == pytest.approx(100)) == complete


def test_some_images_only(case):
    file, truth, rows = case
    for ids in ([11, 2], [5, 9]):
        metrics = evaluate_lvis_results(file, rows, image_ids=ids)
        for task in ("bbox", "segm"):
            assert_same(metrics, task, lvis_oracle(truth, rows, task, image_ids=ids)[0])


@pytest.mark.parametrize(
    ("image", "category", "counts"),
    [(11, 41, True), (11, 20, False), (11, 8, False), (5, 3, True), (5, 8, False), (11, 3, True)],
    ids=["negative, no object", "not searched", "not exhaustive", "negative", "not searched here", "has objects"],
)
def test_what_counts_as_false(case, image, category, counts):
    """Class 3 is searched for in images 11 and 5, 8 in all but 5; all objects are found."""
    file, truth, _ = case
    truth["annotations"].append({**truth["annotations"][0], "id": 99, "image_id": 9, "category_id": 41})
    write(file.parent, truth)
    found = [{k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5} for a in truth["annotations"]]
    assert evaluate_lvis_results(file, found, ("bbox",))["bbox/AP"] == pytest.approx(100)
    wrong = {"image_id": image, "category_id": category, "bbox": [80, 80, 10, 10], "score": 0.9}
    metrics = evaluate_lvis_results(file, [*found, wrong], ("bbox",))
    assert (metrics["bbox/AP"] < 99) == counts
    assert (metrics[f"bbox/AP-class {category}"] < 99) == counts


def test_a_results_file_of_boxes(case, tmp_path):
    file, truth, rows = case
    rows = [{k: v for k, v in row.items() if k != "segmentation"} for row in rows]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    metrics = evaluate_lvis_results(file, tmp_path / "boxes.json", tasks=None)
    assert {k.split("/")[0] for k in metrics} == {"bbox"}
    assert_same(metrics, "bbox", lvis_oracle(truth, rows, "bbox")[0])


def test_cocos_protocol_is_another(case):
    file, _, rows = case
    assert evaluate_coco_results(file, rows)["bbox/AP"] < evaluate_lvis_results(file, rows)["bbox/AP"]


def test_no_detections(case):
    metrics = evaluate_lvis_results(case[0], [])
    assert metrics["bbox/AP"] == metrics["segm/AR300"] == 0
    assert np.isnan(metrics["bbox/AP-class 41"])


def test_which_json_is_lvis(case, real_data, tmp_path):
    file, *_ = case
    assert is_lvis(file)
    assert not is_lvis(real_data / "coco_eval_val2014_100" / "instances_val2014_100.json")
    (tmp_path / "list.json").write_text("[]")
    assert not is_lvis(tmp_path / "list.json")
    with pytest.raises(FileNotFoundError):
        is_lvis(tmp_path / "nowhere.json")


def _drop(row, key):
    del row[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: _drop(t["images"][1], "neg_category_ids"), "image id 5 has no list 'neg_category_ids'; LVIS's"),
        (lambda t: t["images"][0].update(not_exhaustive_category_ids=3), "image id 11 has no list 'not_exhaustive"),
        (lambda t: _drop(t["categories"][2], "frequency"), "category id 8 has no 'frequency' of r, c or f"),
        (lambda t: t["images"][2]["neg_category_ids"].append(4), "image id 9 has 4 in 'neg_category_ids', which"),
        (lambda t: t["images"][0]["not_exhaustive_category_ids"].append("x"), "image id 11 has 'x' in 'not_exhaustive"),
        (lambda t: t["annotations"][2].update(category_id=4), "annotation 3 has category_id 4, which is not"),
    ],
)
def test_faulty_ground_truth(case, change, message):
    file, truth, rows = case
    change(truth)
    with pytest.raises(ValueError, match=message):
        evaluate_lvis_results(write(file.parent, truth), rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 1204}, r"1 value of category_id \(1204\) not in the ground truth .*; these are results"),
        ({"image_id": 12}, r"1 value of image_id \(12\) not in the ground truth"),
    ],
)
def test_results_of_another_data_set(case, change, message):
    file, _, rows = case
    with pytest.raises(ValueError, match=message):
        evaluate_lvis_results(file, [*rows, rows[0] | change])
