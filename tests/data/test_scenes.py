"""The embedded data set: exact, deterministic, valid COCO."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pe_dense.data.scenes import CLASSES, ScenePaths, write_scenes
from pe_dense.data.scenes.annotations import coco_annotations, polygons
from pe_dense.data.scenes.compose import random_scene
from pe_dense.data.scenes.shapes import area
from pe_dense.data.scenes.video import random_video

TRAIN, VAL, SIZE = 60, 12, 128


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=TRAIN, val=VAL, size=SIZE, videos=1, seed=3)


@pytest.fixture(scope="module")
def coco(scenes) -> COCO:
    return COCO(str(scenes.train_json))


def digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_bytes_again_and_with_more_processes(tmp_path):
    small = {"train": 5, "val": 2, "size": 96, "videos": 1}
    first = digest(write_scenes(tmp_path / "a", **small, seed=7).root)
    assert first == digest(write_scenes(tmp_path / "b", **small, seed=7, processes=2).root)
    assert first != digest(write_scenes(tmp_path / "c", **small, seed=8).root)


def test_more_images_leave_the_others_as_they_are(scenes, tmp_path):
    fewer = write_scenes(tmp_path, train=3, val=0, size=SIZE, videos=0, seed=3)
    for path in sorted(fewer.train_images.iterdir()):
        assert path.read_bytes() == (scenes.train_images / path.name).read_bytes()


def test_files_and_counts(scenes, coco):
    val = COCO(str(scenes.val_json))
    assert (len(coco.imgs), len(val.imgs)) == (TRAIN, VAL)
    assert not set(coco.imgs) & set(val.imgs)
    assert [c["id"] for c in coco.dataset["categories"]] == [1, 3, 4, 7, 9, 12]
    for row in coco.dataset["images"]:
        stem = Path(row["file_name"]).stem
        assert cv2.imread(str(scenes.train_images / row["file_name"])).shape == (SIZE, SIZE, 3)
        depth = cv2.imread(str(scenes.train_depth / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16
        assert depth.shape == (SIZE, SIZE)
        assert 1000 < depth.min() <= depth.max() <= 13000
    per_image = [len([a for a in coco.imgToAnns[i] if not a["iscrowd"]]) for i in coco.imgs]
    assert 2.5 < np.mean(per_image) < 6
    assert 0 in per_image
    assert max(per_image) <= 7


def test_every_class_and_kind_of_segmentation_occurs(coco):
    assert {a["category_id"] for a in coco.anns.values()} == {c.json_id for c in CLASSES}
    kinds = {(type(a["segmentation"]), a["iscrowd"]) for a in coco.anns.values()}
    assert kinds == {(list, 0), (dict, 0), (dict, 1)}
    crowds = [a["segmentation"]["counts"] for a in coco.anns.values() if a["iscrowd"]]
    assert all(isinstance(counts, list) for counts in crowds)


def test_boxes_and_areas_equal_the_masks_and_masks_do_not_overlap(coco):
    for image_id in coco.imgs:
        total = np.zeros((SIZE, SIZE), dtype=int)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation)
            total += mask
            rows, columns = np.nonzero(mask)
            x0, y0 = int(columns.min()), int(rows.min())
            assert annotation["bbox"] == [x0, y0, int(columns.max()) + 1 - x0, int(rows.max()) + 1 - y0]
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] or min(annotation["bbox"][2:]) >= SIZE / 16
        assert total.max(initial=0) <= 1


def test_semantic_labels_agree_with_the_masks(scenes, coco):
    names = {row["id"]: row["name"] for row in json.loads(scenes.sem_seg_classes.read_text())}
    for image_id, row in list(coco.imgs.items())[:20]:
        labels = cv2.imread(str(scenes.train_sem_seg / f"{Path(row['file_name']).stem}.png"), cv2.IMREAD_UNCHANGED)
        objects = np.zeros((SIZE, SIZE), dtype=bool)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation).astype(bool)
            objects |= mask
            seen = set(labels[mask]) - {255}
            assert {names[int(v)] for v in seen} <= {coco.cats[annotation["category_id"]]["name"]}
        assert set(labels[~objects]) <= {0, 1, 255}


def test_nearer_objects_hide_farther_ones():
    hidden = 0
    for seed in range(20):
        scene = random_scene(np.random.default_rng(seed), SIZE)
        distances = [s.thing.z for s in scene.shapes]
        assert distances == sorted(distances, reverse=True)
        for index, shape in enumerate(scene.shapes):
            owner = scene.picture.owner[shape.window][shape.mask]
            assert (owner >= index).all()  # whoever is seen instead is nearer
            hidden += int((owner > index).sum())
            seen = scene.picture.owner == index
            depth = scene.picture.depth[seen]
            assert (np.abs(depth - shape.thing.z) < 0.06).all()
    assert hidden > 100


def test_nearer_is_larger_and_on_the_floor_lower():
    camera = random_scene(np.random.default_rng(0), SIZE).camera
    near, far = camera.project(0, 0, 3)[1], camera.project(0, 0, 6)[1]
    assert near > far > camera.horizon


def test_class_areas_are_inside_the_unit_circle():
    rng = np.random.default_rng(0)
    for shape in CLASSES:
        for _ in range(20):
            contours = shape.outline(rng)
            assert np.hypot(*contours[0].T).max() < 1.01, shape.name
            assert 0.5 < area(contours) < np.pi, shape.name


def test_polygons_follow_pixel_edges():
    mask = np.zeros((6, 7), dtype=bool)
    mask[1:3, 1:5] = mask[3:5, 1:3] = True  # an L
    corners = np.array(polygons(mask)[0]).reshape(-1, 2)
    assert {tuple(c) for c in corners} == {(1, 1), (5, 1), (5, 3), (3, 3), (3, 5), (1, 5)}
    mask[2, 2] = False  # still a notch-free outline, but now with a hole
    assert polygons(mask) == []


def test_an_empty_scene_has_no_annotations():
    scenes = (random_scene(np.random.default_rng(seed), 64) for seed in range(200))
    empty = next(s for s in scenes if not s.shapes)
    assert coco_annotations(empty) == []


def test_video_identities_vanish_and_return():
    for seed in range(10):
        frames = list(random_video(np.random.default_rng(seed), 96))
        seen = np.array([[_pixels(f, identity) for f in frames] for identity in range(6)])
        gone = seen == 0
        returns = [g.any() and not g[0] and not g[-1] for g in gone]
        assert sum(returns) >= 2, seed  # one behind the box, one outside the image
        assert (seen[5, -1] > 3 * seen[5, 0]) or gone[5, 0]  # the one that comes closer


def _pixels(scene, identity: int) -> int:
    members = [i for i, s in enumerate(scene.shapes) if s.thing.group == identity]
    return int(np.isin(scene.picture.owner, members).sum())


def test_video_files(scenes):
    name = (scenes.davis / "ImageSets" / "480p" / "val.txt").read_text().split()[0]
    frames = sorted((scenes.davis / "JPEGImages" / "480p" / name).iterdir())
    masks = sorted((scenes.davis / "Annotations" / "480p" / name).iterdir())
    assert [f.stem for f in frames] == [m.stem for m in masks] == [f"{i:05d}" for i in range(24)]
    truth = np.loadtxt(scenes.mot / name / "gt" / "gt.txt", delimiter=",")
    for index, path in enumerate(masks):
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
            labels = np.array(image)
        rows = truth[truth[:, 0] == index + 1]
        assert set(rows[:, 1]) == set(np.unique(labels)) - {0}
        for _, identity, x, y, w, h, *_, visible in rows:
            ys, xs = np.nonzero(labels == identity)
            assert x - 1.7 <= xs.min()
            assert xs.max() <= x + w
            assert y - 1.7 <= ys.min()
            assert ys.max() <= y + h
            assert 0 < visible <= 1


@pytest.mark.parametrize(("name", "value"), [("size", 32), ("train", -1), ("processes", 0), ("seed", -1)])
def test_bad_arguments_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        write_scenes(tmp_path, **{name: value})
