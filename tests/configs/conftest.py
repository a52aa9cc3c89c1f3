"""A few pictures in the layout of every data set that a recipe reads."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.data.scenes import write_scenes


def _image(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def _labels(path: Path, height: int, width: int, low: int, high: int, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(low, high, (height, width)).astype(dtype))


def _write_coco(root: Path) -> None:
    write_scenes(root, train=4, val=2, size=64, videos=1)
    for part in ("train", "val"):
        (root / f"{part}2017").symlink_to(root / part)
        (root / f"annotations/instances_{part}2017.json").symlink_to(root / f"annotations/instances_{part}.json")


def _write_lvis(root: Path, coco: Path) -> None:
    """The scenes of ``coco`` with version 1's fields and its number of classes."""
    root.mkdir()
    for part in ("train", "val"):
        content = json.loads((coco / f"annotations/instances_{part}.json").read_text())
        used = content["categories"]
        others = [{"id": 10_000 + i, "name": f"other {i}"} for i in range(1203 - len(used))]
        content["categories"] = [{**c, "frequency": "c", "image_count": 20} for c in used + others]
        for row in content["images"]:
            row["coco_url"] = f"http://images.cocodataset.org/{part}2017/{row.pop('file_name')}"
            row.update(neg_category_ids=[10_000], not_exhaustive_category_ids=[])
        (root / f"lvis_v1_{part}.json").write_text(json.dumps(content))


def _write_nyu(root: Path) -> None:
    for folder, split in (("sync", "train"), ("official_splits/test", "test")):
        lines = []
        for i in range(2):
            _image(root / folder / f"attic/rgb_{i}.jpg", 480, 640)
            _labels(root / folder / f"attic/sync_depth_{i}.png", 480, 640, 900, 9000, np.uint16)
            lines.append(f"/attic/rgb_{i}.jpg /attic/sync_depth_{i}.png 518.8579\n")
        (root / f"nyudepthv2_{split}_files_with_gt.txt").write_text("".join(lines))


def _write_kitti(root: Path) -> None:
    for split in ("train", "test"):
        lines = []
        for i in range(2):
            image, depth = f"2011_09_26/{split}/{i}.png", f"{split}_sync/{i}.png"
            _image(root / image, 375, 1242)
            _labels(root / "gt_depth" / depth, 375, 1242, 1000, 18000, np.uint16)
            lines.append(f"{image} {depth} 721.5377\n")
        (root / f"kitti_eigen_{split}.txt").write_text("".join(lines))


def _write_sem_seg(root: Path) -> None:
    for i in range(2):
        for part in ("training", "validation"):
            _image(root / f"ade20k/images/{part}/{i}.jpg", 60, 80)
            _labels(root / f"ade20k/annotations/{part}/{i}.png", 60, 80, 0, 151)
        _image(root / f"VOC2012/JPEGImages/{i}.jpg", 60, 80)
        _labels(root / f"VOC2012/SegmentationClass/{i}.png", 60, 80, 0, 21)
        for split in ("train", "val"):
            _image(root / f"cityscapes/leftImg8bit/{split}/ulm/{i}_leftImg8bit.png", 128, 256)
            _labels(root / f"cityscapes/gtFine/{split}/ulm/{i}_gtFine_labelIds.png", 128, 256, 0, 34)
            _image(root / f"camvid/{split}/{i}.jpg", 360, 480)
            _labels(root / f"camvid/{split}annot/{i}.png", 360, 480, 0, 12)
    lists = root / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("0\n1\n")


def _write_classes(root: Path) -> None:
    for part in ("train", "val"):
        for name in ("n01", "n02"):
            _image(root / part / name / "0.jpg", 60, 80)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one folder for each data set."""
    root = tmp_path_factory.mktemp("datasets")
    _write_coco(root / "coco")
    _write_lvis(root / "lvis", root / "coco")
    _write_nyu(root / "nyu")
    _write_kitti(root / "kitti")
    _write_sem_seg(root)
    _write_classes(root / "imagenet")
    return root
