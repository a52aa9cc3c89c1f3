"""Detections beside ground truth: matching, order, pictures, errors."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from pe_dense.data import CocoDataset
from pe_dense.structures.masks import encode_rle
from pe_dense.visualization import detections, palette_color, visualize_detections
from pe_dense.visualization.detections import compare_all, decode_segmentation, draw_comparison, rank, summary
from pe_dense.visualization.matching import Detected, compare


class Truth:
    def __init__(self, boxes, classes, crowd=None):
        self.boxes, self.classes = np.array(boxes, dtype=float).reshape(-1, 4), np.array(classes, dtype=int)
        self.crowd = np.array(crowd if crowd is not None else [False] * len(classes), dtype=bool)
        self.segmentations = [None] * len(classes)


def found(boxes, classes):
    scores = np.linspace(0.9, 0.6, len(classes))
    return Detected(
        np.array(boxes, dtype=float).reshape(-1, 4), np.array(classes, dtype=int), scores, [None] * len(classes)
    )


A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 90, 90]


def test_every_kind_of_match():
    result = compare(0, "x", Truth([A, B, C], [0, 1, 1]), found([A, A, B], [0, 0, 2]))
    assert result.detected_status == ["correct", "false", "wrong class"]  # the second is a duplicate
    assert result.truth_status == ["correct", "wrong class", "missed"]
    assert result.partner.tolist() == [0, -1, 1]
    assert result.errors == 3
    assert summary(result) == "x: 1 missed, 1 false, 1 wrong class"


def test_the_right_class_has_precedence_over_a_better_score():
    result = compare(0, "x", Truth([A], [1]), found([A, A], [0, 1]))
    assert result.detected_status == ["false", "correct"]


def test_crowds_are_neither_missed_nor_make_errors():
    inside = [60, 60, 65, 65]
    result = compare(0, "x", Truth([C], [1], [True]), found([inside, inside], [1, 0]))
    assert result.truth_status == ["ignored"]
    assert result.detected_status == ["ignored", "false"]


def test_empty_sides():
    assert compare(0, "x", Truth([], []), found([], [])).errors == 0
    assert compare(0, "x", Truth([A], [0]), found([], [])).errors == 1
    assert compare(0, "x", Truth([], []), found([A], [0])).errors == 1


@pytest.fixture
def balloon(real_data) -> tuple[CocoDataset, list[dict], Path]:
    """Real pictures, and their ground truth shifted by a few pixels as results."""
    root = real_data / "balloon_640"
    coco = COCO(str(root / "val.json"))
    rows = []
    for annotation in coco.anns.values():
        x, y, w, h = annotation["bbox"]
        mask = np.roll(coco.annToMask(annotation), 2, axis=1)
        row = {"image_id": annotation["image_id"], "category_id": annotation["category_id"], "score": 0.9}
        rows.append({**row, "bbox": [x + 2, y, w, h], "segmentation": encode_rle(mask)})
    return CocoDataset(root / "val.json", root / "val"), rows, root


def test_order_by_errors_score_and_name(balloon):
    dataset, rows, _ = balloon
    victim = rows[0]["image_id"]
    rows = [r for r in rows if r["image_id"] != victim]
    everything = compare_all(dataset, rows)
    by_error = rank(everything, "error")
    assert int(dataset.image_ids[by_error[0].index]) == victim
    assert sum(c.errors for c in by_error[1:]) == 0
    names = [c.file_name for c in rank(everything, "name")]
    assert names == sorted(names)
    assert rank(everything, "score")[-1] is by_error[0]


def test_pictures_in_a_folder_and_on_one_sheet(balloon, tmp_path):
    dataset, rows, _ = balloon
    written = visualize_detections(dataset, rows, tmp_path / "many", num=2, sheet=True)
    assert len(written) == 3
    assert visualize_detections(dataset, rows, tmp_path / "one.jpg", num=3) == [tmp_path / "one.jpg"]
    assert cv2.imread(str(tmp_path / "one.jpg")).shape[1] > 900


@pytest.mark.parametrize("output", ["many", "one.png"])
def test_the_score_threshold_is_told(balloon, tmp_path, monkeypatch, output):
    titles = []

    def pair(left, right, both, width):
        titles.append(both)
        return left

    monkeypatch.setattr(detections, "side_by_side", pair)
    dataset, rows, _ = balloon
    visualize_detections(dataset, rows, tmp_path / output, num=1, score_threshold=0.25)
    assert titles == [("ground truth", "predictions, score >= 0.25")]


def test_an_object_and_its_detection_share_a_colour_of_their_own(monkeypatch):
    sides = []

    def draw(image, instances, colors, **options):
        sides.append(colors)
        return np.zeros((40, 50, 3), np.uint8)

    monkeypatch.setattr(detections, "draw_instances", draw)
    comparison = compare(0, "x", Truth([A, B, C], [0, 1, 1], [False, False, True]), found([B, A, A], [1, 0, 0]))
    for color_by in ("class", "instance"):
        draw_comparison(np.zeros((90, 90, 3), np.uint8), comparison, ["a", "b"], color_by)
        truth, detected = sides[-2:]
        assert truth[:2] == [palette_color(0), palette_color(1)]
        assert detected[:2] == truth[1::-1]
        assert truth[2] not in truth[:2]  # the crowd
        assert detected[2] not in truth  # the false detection
    same = compare(0, "x", Truth([A, B], [1, 1]), found([B, A], [1, 1]))
    for color_by, count in (("class", 1), ("instance", 2)):
        draw_comparison(np.zeros((90, 90, 3), np.uint8), same, ["a", "b"], color_by)
        assert sides[-1] == sides[-2][::-1]
        assert len(set(sides[-1])) == count


def test_boxes_come_from_masks_if_they_are_missing(balloon):
    dataset, rows, _ = balloon
    masks_only = [{k: v for k, v in row.items() if k != "bbox"} for row in rows]
    for given, derived in zip(compare_all(dataset, rows), compare_all(dataset, masks_only)):
        assert np.abs(given.detected.boxes - derived.detected.boxes).max() < 4


def test_results_of_other_images_are_refused(balloon):
    dataset, rows, _ = balloon
    with pytest.raises(ValueError, match=r"results are for 1 images that the data set does not have \(image_id 987\)"):
        compare_all(dataset, [{**rows[0], "image_id": 987}])
    with pytest.raises(ValueError, match="category_id 55"):
        compare_all(dataset, [{**rows[0], "category_id": 55}])
    with pytest.raises(ValueError, match="row 1 of the results"):
        compare_all(dataset, [rows[0], {"image_id": 1}])


def test_segmentations_of_every_format():
    square = np.zeros((8, 9), dtype=bool)
    square[2:5, 3:7] = True
    polygon = np.array([[3, 2], [7, 2], [7, 5], [3, 5]], dtype=np.float32)
    runs = {"size": [8, 9], "counts": [26, 3, 5, 3, 5, 3, 5, 3, 19]}
    for segmentation in ([polygon], [polygon.ravel().tolist()], encode_rle(square), runs):
        assert np.array_equal(decode_segmentation(segmentation, (8, 9)), square)
    assert not decode_segmentation(None, (8, 9)).any()
    with pytest.raises(ValueError, match=r"mask of size \[8, 9\]"):
        decode_segmentation(encode_rle(square), (9, 8))
