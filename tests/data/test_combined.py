"""Data sets joined by image, and one after the other."""

from pathlib import Path

import numpy as np
import pytest

from pe_dense.data import CocoDataset, DataError, DepthList, JointDataset, MappedDataset, MixedDataset, SemSegFolder
from pe_dense.data.scenes import ScenePaths, write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=5, val=3, size=64, videos=0)


def detection(scenes: ScenePaths, split: str = "val") -> CocoDataset:
    json_file, images = (getattr(scenes, f"{split}_{what}") for what in ("json", "images"))
    return CocoDataset(json_file, images)


def depth(scenes: ScenePaths, split: str = "val") -> DepthList:
    return DepthList(getattr(scenes, f"{split}_images"), getattr(scenes, f"{split}_depth"), 1000)


def sem_seg(scenes: ScenePaths, split: str = "val", classes: Path | list[str] | None = None) -> SemSegFolder:
    folders = (getattr(scenes, f"{split}_{what}") for what in ("images", "sem_seg"))
    return SemSegFolder(*folders, classes or scenes.sem_seg_classes)


def test_all_labels_of_each_image(scenes: ScenePaths) -> None:
    parts = {"detection": detection(scenes), "depth": depth(scenes), "sem_seg": sem_seg(scenes)}
    joint = JointDataset(**parts)
    assert len(joint) == 3
    assert joint.labels == ("instances", "depth", "sem_seg")
    assert joint.categories == parts["detection"].categories
    assert joint.classes == parts["sem_seg"].classes
    sample = MappedDataset(joint)[1]
    assert sample["image_ids"] == {"detection": int(parts["detection"].image_ids[1]), "depth": 1, "sem_seg": 1}
    assert sample["image_id"] == sample["image_ids"]["detection"]
    for name, key in (("detection", "instances"), ("depth", "depth"), ("sem_seg", "sem_seg")):
        alone = MappedDataset(parts[name])[1]
        assert alone["file_name"] == sample["file_name"] == joint.file_name(1)
        assert np.array_equal(alone["image"], sample["image"])
        if key == "instances":
            assert np.array_equal(alone[key].masks, sample[key].masks)
        else:
            assert np.array_equal(alone[key], sample[key])
    plain = MappedDataset(joint, with_instances=False)[1]
    assert plain.keys() & {"instances", "annotations", "depth", "sem_seg"} == set()


def test_images_that_not_all_have(scenes: ScenePaths, caplog: pytest.LogCaptureFixture) -> None:
    few = sem_seg(scenes).select([2])
    joint = JointDataset(depth=depth(scenes), sem_seg=few)
    assert [Path(joint.file_name(i)).name for i in range(len(joint))] == ["000002.jpg"]
    assert joint[0]["image_ids"] == {"depth": 2, "sem_seg": 0}
    assert joint[0]["image_id"] == 2
    assert "2 images of depth left out" in caplog.text
    with pytest.raises(DataError, match=r"no image in common, e\.g\. .*000000\.jpg \(depth\) and .*\(sem_seg\)"):
        JointDataset(depth=depth(scenes), sem_seg=sem_seg(scenes, "train"))
    with pytest.raises(ValueError, match="joins at least two of detection, depth, sem_seg"):
        JointDataset(depth=depth(scenes))


def test_labels_of_another_size_are_named(scenes: ScenePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    joint = JointDataset(detection=detection(scenes), depth=depth(scenes))
    monkeypatch.setattr(DepthList, "read_depth", lambda *_: np.ones((32, 64), dtype=np.float32))
    with pytest.raises(DataError, match=r"depth map .*000000\.png is 64 pixels wide and 32 high but its image"):
        joint[0]


def test_one_after_the_other(scenes: ScenePaths) -> None:
    mixed = MixedDataset({"objects": detection(scenes), "metres": depth(scenes, "train")})
    assert len(mixed) == 8
    assert [next(iter(mixed.unlabelled(i)["image_ids"])) for i in range(8)] == ["objects"] * 3 + ["metres"] * 5
    first, last = mixed[0], mixed[7]
    assert first["image_ids"] == {"objects": first["image_id"]}
    assert "annotations" in first
    assert last["image_ids"] == {"metres": 4}
    assert "depth" in last
    assert "depth" not in mixed.unlabelled(7)
    assert mixed.file_name(7) == depth(scenes, "train").file_name(4)
    assert mixed.labels == ("instances", "depth")
    assert mixed.masks
    assert mixed.classes is None
    with pytest.raises(IndexError, match="item 8"):
        mixed[8]
    with pytest.raises(ValueError, match="parts is empty"):
        MixedDataset({})


def test_a_joint_part_keeps_its_ids(scenes: ScenePaths) -> None:
    joint = JointDataset(depth=depth(scenes), sem_seg=sem_seg(scenes))
    mixed = MixedDataset({"joint": joint, "objects": detection(scenes)})
    assert mixed[1]["image_ids"] == {"depth": 1, "sem_seg": 1}
    assert mixed.labels == ("depth", "sem_seg", "instances")


def test_parts_of_other_classes(scenes: ScenePaths) -> None:
    other = sem_seg(scenes, "train", [f"class {i}" for i in range(9)])
    with pytest.raises(DataError, match="one and two both have sem_seg, but other classes"):
        MixedDataset({"one": sem_seg(scenes), "two": other})
