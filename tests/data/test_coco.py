"""COCO-format data sets."""

import copy
import logging
import multiprocessing
import os
import pickle

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from pe_dense.data import (
    CocoDataset,
    DataError,
    MappedDataset,
    ResizeShortestEdge,
    class_names,
    count_classes,
    has_masks,
)


def test_items(content, write, tmp_path):
    dataset = CocoDataset(write(content), tmp_path)
    assert len(dataset) == 2
    item = dataset[0]
    assert item["image"].shape == (3, 40, 60)
    assert item["image"].dtype == torch.uint8
    assert (item["height"], item["width"], item["image_id"]) == (40, 60, 7)
    assert item["file_name"] == str(tmp_path / "a.png")
    assert item["annotations"].crowd.tolist() == [False, True]
    assert dataset.image_ids.tolist() == [7, 3]
    assert dataset.masks
    with pytest.raises(IndexError):
        dataset[2]


def test_classes_come_from_the_json(content, write):
    path = write(content)
    assert count_classes(path) == 2
    assert has_masks(path)
    assert class_names(path) == ["bar", "box"]


def test_skip_empty_leaves_out_images_with_crowds_only(content, write, tmp_path):
    content["annotations"].append({**content["annotations"][1], "id": 13, "image_id": 3, "segmentation": None})
    dataset = CocoDataset(write(content), tmp_path, skip_empty=True)
    assert dataset.image_ids.tolist() == [7]
    assert dataset[0]["image_id"] == 7
    content["annotations"] = content["annotations"][1:]
    with pytest.raises(DataError, match="no image with an object"):
        CocoDataset(write(content), tmp_path, skip_empty=True)


def test_objects_without_a_mask(content, write, tmp_path, caplog):
    content["annotations"].append({**content["annotations"][0], "id": 13, "segmentation": [[1, 1, 2, 2]]})
    path = write(content)
    with caplog.at_level(logging.INFO):
        dataset = CocoDataset(path, tmp_path)
    assert dataset.annotations(0).ids.tolist() == [11, 12]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        "2 images, 2 objects, 2 classes; left out: 1 polygon with fewer than three points (annotations 13)"
        in record.message
    )
    assert "1 object without a mask" in record.message
    boxes_only = CocoDataset(path, tmp_path, masks=False)
    assert boxes_only.annotations(0).ids.tolist() == [11, 12, 13]
    assert boxes_only.annotations(0).segmentations == [None] * 3
    for row in content["annotations"]:
        row["segmentation"] = []
    path = write(content)
    assert not CocoDataset(path, tmp_path).masks
    assert not has_masks(path)
    with pytest.raises(DataError, match="no segmentation at all"):
        CocoDataset(path, tmp_path, masks=True)


def test_doubts_are_said_with_and_without_the_cache(content, write, tmp_path, caplog):
    content["annotations"][0]["bbox"] = [30, 5, 59, 20]
    path = write({**content, "annotations": content["annotations"][:1]})
    for _ in range(2):
        caplog.clear()
        CocoDataset(path, tmp_path)
        assert [f"{path}: 1 box of 1 reach" in record.message for record in caplog.records] == [True]


def test_missing_images_are_counted_and_named(content, write, tmp_path):
    path = write(content)
    dataset = CocoDataset(path, tmp_path)
    dataset.check_images()
    (tmp_path / "b.png").unlink()
    message = r"1 of the 2 images of .*instances\.json are not in .*: b\.png; set image_root to .* is relative to"
    with pytest.raises(FileNotFoundError, match=message):
        dataset.check_images()
    dataset.select([7]).check_images()
    content["images"] += [{"id": 20 + i, "file_name": f"deep/{i}.png"} for i in range(3)]
    dataset = CocoDataset(write(content), tmp_path)  # writes b.png again
    with pytest.raises(FileNotFoundError, match=r"^3 of the 5 images .*: deep/0\.png, deep/1\.png, deep/2\.png; set"):
        dataset.check_images()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "1.png").touch()
    with pytest.raises(FileNotFoundError, match=r"^2 of the 5 images .*: deep/0\.png, deep/2\.png; set"):
        dataset.check_images()


def test_folders_are_listed_and_files_are_not_asked_for_one_by_one(content, write, tmp_path, monkeypatch):
    dataset = CocoDataset(write(content), tmp_path)
    listed = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda folder: listed.append(folder) or scandir(folder))
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: pytest.fail(f"asked for {path}"))
    dataset.check_images()
    assert listed == [tmp_path]


def test_what_cannot_be_listed_is_left_to_reading(content, write, tmp_path, monkeypatch):
    dataset = CocoDataset(write(content), tmp_path)

    def forbidden(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    with monkeypatch.context() as patched:
        patched.setattr("os.scandir", forbidden)
        dataset.check_images()
    (tmp_path / "b.png").unlink()
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: True)  # as where B.PNG is found by the name b.png
    dataset.check_images()


def test_size_that_differs_from_the_image(content, write, tmp_path):
    dataset = CocoDataset(write(content), tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 40, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"a\.png is 40 x 60 .*instances\.json says 60 x 40"):
        dataset[0]


def test_size_from_the_image(content, write, tmp_path):
    write(content)
    without = copy.deepcopy(content)
    without["annotations"][0]["bbox"] = [50, 30, 500, 500]
    without["annotations"][0].pop("segmentation")
    without["annotations"].pop()
    for row in without["images"]:
        del row["height"], row["width"]
    sample = MappedDataset(CocoDataset(write(without), tmp_path), [ResizeShortestEdge(80)])[0]
    assert (sample["height"], sample["width"]) == (40, 60)
    np.testing.assert_allclose(sample["instances"].boxes, [[100, 60, 120, 80]])


def test_missing_folder(content, write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image folder .*nowhere does not exist; set image_root"):
        CocoDataset(write(content), tmp_path / "nowhere")


def test_pickled_for_a_spawned_process(content, write, tmp_path):
    dataset = CocoDataset(write(content), tmp_path)
    assert len(pickle.dumps(dataset)) < 2000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        item = pool.apply(dataset.__getitem__, (0,))
    assert torch.equal(item["image"], dataset[0]["image"])


@pytest.mark.parametrize(
    ("json_file", "images"),
    [
        ("coco128/instances_coco128.json", "coco128/images"),
        ("balloon_640/val.json", "balloon_640/val"),
        ("dsb2018_nuclei/instances.json", "dsb2018_nuclei/images"),
        ("coco_eval_val2014_100/instances_val2014_100.json", None),
    ],
)
def test_real_data_agrees_with_pycocotools(real_data, json_file, images, capsys):
    path = real_data / json_file
    dataset = CocoDataset(path, real_data / images if images else path.parent)
    oracle = COCO(str(path))
    assert dataset.categories.ids == tuple(sorted(oracle.getCatIds()))
    assert dataset.image_ids.tolist() == list(oracle.imgs)
    for index in range(0, len(dataset), max(1, len(dataset) // 20)):
        objects = dataset.annotations(index)
        expected = oracle.loadAnns(oracle.getAnnIds(int(dataset.image_ids[index])))
        assert objects.ids.tolist() == [a["id"] for a in expected]
        assert [dataset.categories.ids[c] for c in objects.classes] == [a["category_id"] for a in expected]
        sizes = np.concatenate([objects.boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]], axis=1)
        np.testing.assert_allclose(sizes, np.reshape([a["bbox"] for a in expected], (-1, 4)), atol=0.02)
        if images and dataset.masks:
            masks = MappedDataset(dataset, keep_crowd=True)[index]["instances"].masks
            for mask, annotation in zip(masks, expected, strict=True):
                assert (mask.numpy() != oracle.annToMask(annotation)).mean() < 1e-4
