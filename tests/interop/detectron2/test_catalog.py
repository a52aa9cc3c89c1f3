"""A data set that is registered with detectron2, in our loaders."""

import json
from itertools import islice

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError)

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from pe_dense.data import CocoDataset, DataError, LargeScaleJitter, RandomFlip, build_test_loader, build_train_loader
from pe_dense.data.scenes import write_scenes
from pe_dense.engine.resume import check_same_data, data_fingerprint
from pe_dense.engine.run_directory import RunDirectoryError
from pe_dense.interop.detectron2 import CatalogDataset

NAME = "interop_scenes"


@pytest.fixture(autouse=True)
def _forget(tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Ids with gaps; polygons, both kinds of run lengths, a crowd, an image without objects."""
    paths = write_scenes(tmp_path_factory.mktemp("scenes"), train=8, val=1, size=64, videos=0)
    content = json.loads(paths.train_json.read_text())
    for row in content["categories"]:
        row["id"] *= 3
    for row in content["annotations"]:
        row["category_id"] *= 3
    first, second, *_ = content["annotations"]
    bitmap = np.zeros((64, 64), dtype=np.uint8, order="F")
    bitmap[10:40, 5:50] = 1
    rle = coco_mask.encode(bitmap)
    first |= {"segmentation": {"size": [64, 64], "counts": rle["counts"].decode()}, "bbox": [5, 10, 45, 30]}
    runs = {"size": [64, 64], "counts": [64 * 20, 64 * 4, 64 * 40]}
    second |= {"segmentation": runs, "bbox": [20, 0, 4, 64], "iscrowd": 1}
    bare = content["images"][3]["id"]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] != bare]
    paths.train_json.write_text(json.dumps(content))
    return paths


def take(loader, start, count):
    stream = loader.iterate(start)
    batches = list(islice(stream, count))
    stream.close()
    return batches


def same(found, expected):
    assert {k: v for k, v in found.items() if isinstance(v, int | str)} == {
        k: v for k, v in expected.items() if isinstance(v, int | str)
    }
    assert torch.equal(found["image"], expected["image"])
    for name in ("boxes", "classes", "masks", "crowd"):
        assert torch.equal(getattr(found["instances"], name), getattr(expected["instances"], name)), name


def register(function, **metadata):
    DatasetCatalog.register(NAME, function)
    MetadataCatalog.get(NAME).set(**({"thing_classes": ["a", "b"]} | metadata))


def record(scenes, *annotations, index=0, **changes):
    image = scenes.train_images / f"{index:06d}.jpg"
    return {
        "file_name": str(image),
        "height": 64,
        "width": 64,
        "image_id": index + 1,
        "annotations": annotations,
    } | changes


def annotation(**changes):
    return {"bbox": [4, 6, 20, 30], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1} | changes


@pytest.mark.parametrize("skip_empty", [False, True])
def test_a_registered_json_gives_what_the_json_gives(scenes, skip_empty):
    register_coco_instances(NAME, {}, str(scenes.train_json), str(scenes.train_images))
    theirs = CatalogDataset(NAME, skip_empty=skip_empty)
    ours = CocoDataset(scenes.train_json, scenes.train_images, skip_empty=skip_empty)
    assert len(theirs) == len(ours) == 8 - skip_empty
    assert theirs.categories == ours.categories
    assert theirs.masks
    assert all((a == b).all() for a, b in zip(theirs.object_classes(), ours.object_classes()))
    transforms = [RandomFlip(), LargeScaleJitter(size=80)]
    loaders = [
        build_train_loader(d, transforms, 4, num_workers=0, seed=5, repeat_threshold=0.5) for d in (theirs, ours)
    ]
    crowds = 0
    for found, expected in zip(*(take(loader, 0, 4) for loader in loaders)):
        for a, b in zip(found, expected):
            same(a, b)
    for a, b in zip(*(build_test_loader(d, [], num_workers=0, with_instances=True) for d in (theirs, ours))):
        same(a[0], b[0])
    crowds = sum(int(theirs.annotations(i).crowd.sum()) for i in range(len(theirs)))
    assert crowds == 1
    kinds = {type(s) for i in range(len(theirs)) for s in theirs.annotations(i).segmentations}
    assert kinds == {list, dict}


def test_batches_go_on_where_they_ended(scenes):
    register_coco_instances(NAME, {}, str(scenes.train_json), str(scenes.train_images))
    transforms = [RandomFlip(), LargeScaleJitter(size=80)]
    whole = take(build_train_loader(CatalogDataset(NAME), transforms, 3, num_workers=0, seed=2), 0, 6)
    resumed = take(build_train_loader(CatalogDataset(NAME), transforms, 3, num_workers=2, seed=2), 4, 2)
    for found, expected in zip(resumed, whole[4:]):
        for a, b in zip(found, expected):
            same(a, b)


def test_box_modes_and_masks_of_a_hand_written_entry(scenes):
    bitmap = np.zeros((64, 64), dtype=np.uint8, order="F")
    bitmap[6:30, 4:20] = 1
    masks = [
        [np.array([4.0, 6, 20, 6, 20, 30, 4, 30])],
        [np.array([[4.0, 6], [20, 6], [20, 30], [4, 30]])],
        coco_mask.encode(bitmap),
        {"size": [64, 64], "counts": coco_mask.encode(bitmap)["counts"].decode()},
    ]
    rows = [annotation(segmentation=mask, category_id=np.int64(0)) for mask in masks]
    rows.append(annotation(bbox=np.array([4.0, 6, 16, 24]), bbox_mode=BoxMode.XYWH_ABS, segmentation=masks[0]))
    rows.append(annotation(iscrowd=1, segmentation=masks[2]))
    bare = record(scenes, index=1, image_id="second")
    del bare["height"], bare["width"]
    register(lambda: [record(scenes, *rows, image_id="first"), bare])
    dataset = CatalogDataset(NAME)
    sample, second = (batch[0] for batch in build_test_loader(dataset, [], num_workers=0, with_instances=True))
    assert (sample["image_id"], second["image_id"]) == (0, 1)
    assert sample["instances"].classes.tolist() == [0, 0, 0, 0, 1]
    assert torch.equal(sample["instances"].boxes, torch.tensor([[4.0, 6, 20, 30]]).expand(5, 4))
    assert all(torch.equal(mask, torch.from_numpy(bitmap).bool()) for mask in sample["instances"].masks)
    assert dataset.annotations(0).crowd.tolist() == [False] * 5 + [True]
    assert dataset.categories.ids == (0, 1)
    assert len(second["instances"]) == 0


def test_boxes_only(scenes):
    register(lambda: [record(scenes, annotation())])
    assert not CatalogDataset(NAME).masks
    with pytest.raises(DataError, match="detectron2:interop_scenes has no segmentation at all"):
        CatalogDataset(NAME, masks=True)


def test_images_in_several_folders(scenes):
    other = scenes.val_images / "000000.jpg"
    register(lambda: [record(scenes), record(scenes, file_name=str(other), image_id=9)])
    dataset = CatalogDataset(NAME)
    assert dataset.image_root == scenes.root
    assert [dataset[i]["file_name"] for i in (0, 1)] == [str(scenes.train_images / "000000.jpg"), str(other)]


def test_missing_images(scenes):
    register(lambda: [record(scenes), record(scenes, image_id=8, file_name=str(scenes.train_images / "gone.jpg"))])
    message = r"1 of the 2 images of detectron2:interop_scenes are not in .*train: gone\.jpg; correct the file_name"
    with pytest.raises(FileNotFoundError, match=message):
        build_train_loader(CatalogDataset(NAME), [], 1, num_workers=0)


def test_no_such_data_set():
    with pytest.raises(
        DataError, match=r"detectron2 has no data set 'interop_nothing'; register it .* coco_2014_train"
    ):
        CatalogDataset("interop_nothing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category_id": 2}, r"image .*000000\.jpg: an annotation has category_id 2, .* from 0 to 1; correct it"),
        ({"category_id": None}, "category_id None, which is no class index"),
        ({"bbox_mode": BoxMode.XYWH_REL}, "bbox_mode XYWH_REL: write XYWH_ABS or XYXY_ABS"),
        ({"bbox_mode": BoxMode.XYWHA_ABS, "bbox": [1, 2, 3, 4, 5]}, "bbox_mode XYWHA_ABS"),
        ({"bbox": [1, 2, 3]}, "a bbox of 3 numbers instead of 4"),
        ({"bbox": [1, 2, 3, "x"]}, "could not convert string to float: 'x'"),
        ({"segmentation": np.ones((64, 64))}, "segmentation of type ndarray instead of polygons or run lengths"),
        ({"segmentation": {"size": [64, 64], "counts": "00"}}, "detectron2:interop_scenes: .*malformed run-length"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, r"size \[9, 9\] in an image of size \[64, 64\]"),
        ({"iscrowd": "no"}, "iscrowd 'no'; write 0 or 1"),
    ],
)
def test_annotations_that_cannot_be_used(scenes, changes, message):
    register(lambda: [record(scenes, annotation(**changes))])
    with pytest.raises(DataError, match=message):
        CatalogDataset(NAME)


def test_what_is_missing(scenes):
    row = annotation()
    del row["bbox_mode"]
    register(lambda: [record(scenes, row)])
    with pytest.raises(DataError, match="an annotation has no 'bbox_mode'"):
        CatalogDataset(NAME)
    DatasetCatalog[NAME] = lambda: [{"height": 3, "width": 3}]
    with pytest.raises(DataError, match="has an image without a 'file_name'"):
        CatalogDataset(NAME)
    DatasetCatalog[NAME] = lambda: [record(scenes, image_id=1), record(scenes, image_id=1)]
    with pytest.raises(DataError, match="image id 1 appears more than once"):
        CatalogDataset(NAME)


def test_image_of_another_size(scenes):
    register(lambda: [record(scenes, height=63)])
    with pytest.raises(DataError, match=r"is 64 x 64 .* but detectron2:interop_scenes says 64 x 63"):
        CatalogDataset(NAME)[0]


def test_a_resumed_run_notices_other_content(scenes):
    register(lambda: [record(scenes, annotation())])
    first, again = data_fingerprint(CatalogDataset(NAME)), data_fingerprint(CatalogDataset(NAME))
    assert first == again
    DatasetCatalog[NAME] = lambda: [record(scenes, annotation(bbox=[4, 6, 20, 31]))]
    with pytest.raises(RunDirectoryError, match="the training data is not the same"):
        check_same_data(first, data_fingerprint(CatalogDataset(NAME)), scenes.root)
