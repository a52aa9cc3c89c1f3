"""Numbers equal to pycocotools; bad input gives one clear error."""

import json
import math

import numpy as np
import pytest
from coco_cases import NAMES, assert_same, oracle, random_case

from pe_dense.evaluation import evaluate_coco_results


@pytest.fixture
def case(tmp_path):
    """Ground-truth file, ground truth and results of one random case."""
    truth, rows = random_case(0)
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    return file, truth, rows


def rewritten(file, truth):
    file.write_text(json.dumps(truth))
    return file


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_official_numbers(real_data, task):
    folder = real_data / "coco_eval_val2014_100"
    truth = folder / "instances_val2014_100.json"
    results = folder / f"instances_val2014_fake{task}100_results.json"
    metrics = evaluate_coco_results(truth, results, tasks=(task,))
    official = json.loads((folder / "expected.json").read_text())[task]
    assert [round(metrics[f"{task}/{n}"] / 100, 4) for n in NAMES] == official
    assert_same(metrics, task, oracle(json.loads(truth.read_text()), json.loads(results.read_text()), task)[0])


@pytest.mark.parametrize("seed", range(8))
def test_equals_pycocotools(tmp_path, seed):
    truth, rows = random_case(seed)
    metrics = evaluate_coco_results(rewritten(tmp_path / "gt.json", truth), rows)
    for task in ("bbox", "segm"):
        expected, precision = oracle(truth, rows, task)
        assert_same(metrics, task, expected)
        for k, category in enumerate(sorted(truth["categories"], key=lambda c: c["id"])):
            of_class = precision[:, :, k, 0, -1]
            value = metrics[f"{task}/AP-{category['name']}"]
            if (of_class < 0).all():
                assert math.isnan(value)
            else:
                assert value / 100 == pytest.approx(of_class.mean(), abs=1e-6)


@pytest.mark.parametrize("limit", [10, 30, 300])
def test_other_detection_limit(tmp_path, limit):
    """More than the limit per image and class; the headline numbers use it."""
    truth, rows = random_case(3, images=4, classes=2)
    rows = [{**row, "score": row["score"] - 0.001 * i} for i in range(12) for row in rows]
    metrics = evaluate_coco_results(rewritten(tmp_path / "gt.json", truth), rows, ("bbox",), max_detections=limit)
    precision = oracle(truth, rows, "bbox", max_detections=limit)[1][:, :, :, 0, -1]
    assert metrics["bbox/AP"] / 100 == pytest.approx(precision[precision > -1].mean(), abs=1e-6)
    assert f"bbox/AR{limit}" in metrics


def test_some_images_only(case):
    json_file, truth, rows = case
    ids = [image["id"] for image in truth["images"]][::2]
    metrics = evaluate_coco_results(json_file, [r for r in rows if r["image_id"] in ids], image_ids=ids)
    for task in ("bbox", "segm"):
        assert_same(metrics, task, oracle(truth, rows, task, image_ids=ids)[0])
    with pytest.raises(ValueError, match=r"image ids \[99999\] are not in the ground truth .* evaluated on"):
        evaluate_coco_results(json_file, rows, image_ids=[*ids, 99999])


def test_results_file_and_rows_give_the_same(case, tmp_path):
    file, _, rows = case
    saved = tmp_path / "results.json"
    saved.write_text(json.dumps(rows))
    from_file, from_rows = evaluate_coco_results(file, saved), evaluate_coco_results(file, rows)
    np.testing.assert_equal(from_file, from_rows)


def test_annotation_id_zero_counts(tmp_path):
    """pycocotools takes a match with annotation 0 for a miss; ids are renumbered before scoring."""
    truth, _ = random_case(1)
    rows = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in truth["annotations"] if not a["iscrowd"]
    ]  # fmt: skip
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    metrics = evaluate_coco_results(rewritten(tmp_path / "gt.json", truth), rows, ("bbox",))
    assert metrics["bbox/AP"] == pytest.approx(100)


def test_missing_optional_fields(case):
    """Without area the mask's area counts, without iscrowd nothing is a crowd."""
    file, truth, rows = case
    truth["annotations"] = [a for a in truth["annotations"] if not a["iscrowd"]]
    for annotation in truth["annotations"]:
        annotation["area"] = None
        del annotation["iscrowd"]
    metrics = evaluate_coco_results(rewritten(file, truth), rows)
    from pycocotools.coco import COCO

    helper = COCO()
    helper.dataset = truth
    helper.createIndex()
    for annotation in truth["annotations"]:
        annotation["area"] = float(helper.annToMask(annotation).sum())
        annotation["iscrowd"] = 0
    for task in ("bbox", "segm"):
        assert_same(metrics, task, oracle(truth, rows, task)[0])


def test_no_detections(case, caplog):
    file, *_ = case
    metrics = evaluate_coco_results(file, [])
    assert metrics["bbox/AP"] == 0
    assert metrics["segm/AR100"] == 0
    assert "no detections" in caplog.text


def test_masks_only_give_boxes_too(case):
    file, truth, rows = case
    rows = [{k: v for k, v in row.items() if k != "bbox"} for row in rows]
    metrics = evaluate_coco_results(file, rows)
    for task in ("bbox", "segm"):
        assert_same(metrics, task, oracle(truth, rows, task)[0])


def test_classes_of_the_same_name_stay_apart(case):
    file, truth, rows = case
    for category in truth["categories"]:
        category["name"] = "thing"
    metrics = evaluate_coco_results(rewritten(file, truth), rows, ("bbox",))
    assert {k for k in metrics if "AP-" in k} == {f"bbox/AP-thing ({c['id']})" for c in truth["categories"]}


def test_tasks_none_takes_what_both_have(case):
    file, truth, rows = case
    boxes = [{k: v for k, v in row.items() if k != "segmentation"} for row in rows]
    assert {k.split("/")[0] for k in evaluate_coco_results(file, rows, None)} == {"bbox", "segm"}
    assert {k.split("/")[0] for k in evaluate_coco_results(file, boxes, None)} == {"bbox"}
    for annotation in truth["annotations"]:
        annotation["segmentation"] = []
    assert {k.split("/")[0] for k in evaluate_coco_results(rewritten(file, truth), rows, None)} == {"bbox"}


# --- bad results ---


def test_results_file_missing(case, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results file .*none\.json does not exist"):
        evaluate_coco_results(case[0], tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("[{]", r"bad\.json is not valid json"), ('{"a": 1}', "list of rows"), ("[1]", "row 0")],
)
def test_results_file_malformed(case, tmp_path, text, message):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    with pytest.raises(ValueError, match=message):
        evaluate_coco_results(case[0], bad)


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "bbox", "segmentation"])
def test_row_without_a_field(case, key):
    file, _, rows = case
    del rows[7][key]
    with pytest.raises(ValueError, match=f"row 7 has (no '{key}'|a {key} that)"):
        evaluate_coco_results(file, rows)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_id", "12", "row 5 has image_id '12', which is not an integer"),
        ("image_id", 1.5, "row 5 has image_id 1.5"),
        ("category_id", None, "row 5 has category_id None"),
        ("score", float("nan"), "row 5 has score nan, which is not a finite number"),
        ("score", "high", "row 5 has score 'high'"),
        ("bbox", [1, 2, 3], r"row 5 has bbox \[1, 2, 3\], which is not 4 finite numbers"),
        ("bbox", [1, 2, 3, float("inf")], "row 5 has bbox"),
        ("bbox", 4, "row 5 has bbox 4"),
    ],
)
def test_row_with_a_wrong_value(case, tmp_path, key, value, message):
    file, _, rows = case
    rows[5][key] = value
    saved = tmp_path / "results.json"
    saved.write_text(json.dumps(rows))  # writes NaN as Python does
    with pytest.raises(ValueError, match=message):
        evaluate_coco_results(file, saved)


def test_results_of_another_data_set(case):
    file, _, rows = case
    for row in rows[:9]:
        row["image_id"] += 1_000_000
    with pytest.raises(ValueError, match=r"image_id \(\d+.*\) not in the ground truth .*truth\.json"):
        evaluate_coco_results(file, rows)


def test_unknown_category(case):
    file, _, rows = case
    rows[2]["category_id"] = 999
    with pytest.raises(
        ValueError,
        match=r"1 value of category_id \(999\) not in the ground truth .* give the json that they were made for",
    ):
        evaluate_coco_results(file, rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": "a b"}, "cannot be decoded"),
        ({"counts": [1, 2]}, "counts of type list"),
        ({"size": [4, 4]}, r"size \[4, 4\] but its image is \[180, 240\]"),
        ({"counts": "0"}, "describes 0 pixels"),
    ],
)
def test_malformed_rle(case, change, message):
    file, _, rows = case
    rows[3]["segmentation"] = {**rows[3]["segmentation"], **change}
    with pytest.raises(ValueError, match=f"row 3 has a segmentation that .*{message}"):
        evaluate_coco_results(file, rows, ("segm",))


def test_segm_of_boxes_only(case):
    file, _, rows = case
    rows = [{k: v for k, v in row.items() if k != "segmentation"} for row in rows]
    with pytest.raises(ValueError, match=r"no 'segmentation' for segm; evaluate with tasks=\('bbox',\)"):
        evaluate_coco_results(file, rows)


def test_boxes_of_another_data_set(case, tmp_path, caplog):
    """The ids fit, the places do not."""
    file, truth, rows = case
    moved = [{**row, "bbox": [row["bbox"][0] + 1000, *row["bbox"][1:]]} for row in rows]
    saved = tmp_path / "results.json"
    saved.write_text(json.dumps(moved))
    n = len(rows)
    message = rf"results .*results\.json: {n} boxes of {n} wholly outside .* in .*truth\.json; .* another data set"
    with pytest.raises(ValueError, match=message):
        evaluate_coco_results(file, saved)
    assert "wholly outside" not in caplog.text
    evaluate_coco_results(file, [*moved[: n // 2], *rows[n // 2 :]])
    assert "is it the json that they were made for?" in caplog.text
    for image in truth["images"]:
        del image["height"], image["width"]
    assert evaluate_coco_results(rewritten(file, truth), moved, ("bbox",))["bbox/AP"] == 0


def test_masks_alone_need_masks(case):
    file, truth, rows = case
    for annotation in truth["annotations"]:
        annotation["bbox"] = []
    boxes = [{k: v for k, v in row.items() if k != "segmentation"} for row in rows]
    with pytest.raises(ValueError, match=r"no 'segmentation', and .*truth\.json has no boxes to evaluate against"):
        evaluate_coco_results(rewritten(file, truth), boxes, None)
