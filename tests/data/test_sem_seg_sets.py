"""Public segmentation data sets in their own folders."""

import json

import cv2
import numpy as np
import pytest

from pe_dense.data import ADE20K, VOC2012, CamVid, Cityscapes, DataError


def _write(root, image, mask, values):
    for name in (image, mask):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    values = np.atleast_2d(np.array(values, dtype=np.uint8))
    cv2.imwrite(str(root / image), np.zeros((*values.shape, 3), dtype=np.uint8))
    cv2.imwrite(str(root / mask), values)


def test_ade20k(tmp_path, fixtures):
    shift = json.loads((fixtures / "segmentation/expected.json").read_text())["reduce_zero_label"]
    for part in ("training", "validation"):
        _write(tmp_path, f"images/{part}/ADE_1.jpg", f"annotations/{part}/ADE_1.png", shift["before"])
    dataset = ADE20K(tmp_path, "val")
    np.testing.assert_array_equal(dataset[0]["sem_seg"], shift["after"])
    assert len(dataset.classes) == 150
    assert (dataset.classes[0], dataset.classes[12], dataset.classes[149]) == ("wall", "person", "flag")
    assert "training" in ADE20K(tmp_path).file_name(0)
    with pytest.raises(ValueError, match='ADE20K: split is "test"; choose one of train, val'):
        ADE20K(tmp_path, "test")


def test_voc(tmp_path):
    for name in ("2007_1", "2007_2"):
        for folder in ("SegmentationClass", "SegmentationClassAug"):
            _write(tmp_path, f"JPEGImages/{name}.jpg", f"{folder}/{name}.png", [0, 20, 255])
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("2007_2\n")
    (lists / "train_aug.txt").write_text("2007_1\n2007_2\n")
    (lists / "pairs.txt").write_text("/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\n")
    dataset = VOC2012(tmp_path, "val")
    np.testing.assert_array_equal(dataset[0]["sem_seg"], [[0, 20, 255]])
    assert len(dataset.classes) == 21
    extra = VOC2012(tmp_path, "train_aug", "SegmentationClassAug")
    assert len(extra) == 2
    assert extra.pairs[0].labels.endswith("SegmentationClassAug/2007_1.png")
    assert VOC2012(tmp_path, "pairs").pairs[0] == extra.pairs[0]
    with pytest.raises(
        FileNotFoundError, match=r"ImageSets/Segmentation/trian\.txt does not exist; check root and split"
    ):
        VOC2012(tmp_path, "trian")
    (lists / "val.txt").write_text("a b c\n")
    with pytest.raises(DataError, match=r"val\.txt, line 1 is neither an image name nor an image and its mask"):
        VOC2012(tmp_path, "val")


def test_cityscapes(tmp_path):
    name = "aachen/aachen_000000_000019"
    for kind in ("labelIds", "instanceIds", "color"):
        _write(tmp_path, f"leftImg8bit/train/{name}_leftImg8bit.png", f"gtFine/train/{name}_gtFine_{kind}.png",
               [0, 7, 8, 33, 6, 29, 255])  # fmt: skip
    dataset = Cityscapes(tmp_path, "train")
    assert len(dataset) == 1
    np.testing.assert_array_equal(dataset[0]["sem_seg"], [[255, 0, 1, 18, 255, 255, 255]])
    assert len(dataset.classes) == 19


def test_camvid(real_data):
    train, val = (CamVid(real_data / "camvid_small", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (62, 21)
    item = val[0]
    assert item["sem_seg"].shape == (360, 480) == (item["height"], item["width"])
    counts = sum(np.bincount(train.read_sem_seg(i).ravel(), minlength=256) for i in range(0, 62, 8))
    assert counts[:11].all()  # every class occurs
    assert not counts[11:255].any()
    assert train.classes[int(counts[:11].argmax())] == "road"
