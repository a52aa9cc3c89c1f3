"""Videos in a COCO json."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pe_dense.data import CocoVideoFrames, DataError
from pe_dense.data.frame_pairs import FramePairs


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    for name in ("b/1.png", "b/0.png", "a/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 10, 3), dtype=np.uint8))
    box = {"category_id": 7, "bbox": [1, 2, 3, 4]}
    return {
        "videos": [{"id": 5, "name": "b", "fps": 12.5}, {"id": 4, "name": "a"}],
        "images": [
            {"id": 1, "video_id": 5, "frame_id": 1, "file_name": "b/1.png"},
            {"id": 2, "video_id": 5, "frame_id": 0, "file_name": "b/0.png"},
            {"id": 3, "video_id": 4, "frame_id": 0, "file_name": "a/0.png"},
        ],
        "annotations": [
            {"image_id": 1, "instance_id": 9, **box}, {"image_id": 2, "instance_id": 9, **box},
            {"image_id": 2, "instance_id": 8, **box, "iscrowd": 1}, {"image_id": 3, "track_id": 9, **box},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }  # fmt: skip


def load(folder: Path, content: Any) -> CocoVideoFrames:
    (folder / "v.json").write_text(json.dumps(content))
    return CocoVideoFrames(folder / "v.json", folder)


def test_items(tmp_path: Path, content: dict[str, Any]) -> None:
    data = load(tmp_path, content)
    assert [(c.name, c.frame_rate, len(c.files)) for c in data.clips] == [("b", 12.5, 2), ("a", 30.0, 1)]
    assert [Path(data.file_name(i)).name for i in range(3)] == ["0.png", "1.png", "0.png"]
    assert [data.identities(i).tolist() for i in range(3)] == [[0], [0], [1]]  # 9 of another video is another object
    objects = data[1]["annotations"]
    assert (objects.boxes.tolist(), objects.classes.tolist()) == ([[1, 2, 4, 6]], [1])
    assert data.read_ground_truth(0).classes.tolist() == [7, 7]
    assert FramePairs(data, 1).keys.tolist() == [0, 1]


def test_what_is_wrong_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    def without(key: str, place: str) -> dict[str, Any]:
        return {**content, place: [{k: v for k, v in row.items() if k != key} for row in content[place]]}

    first = content["annotations"][0]
    for broken, message in (
        ({k: v for k, v in content.items() if k != "videos"}, "v.json has no list videos; a json of videos has"),
        (without("video_id", "images"), "an entry lacks 'video_id'"),
        (without("instance_id", "annotations"), "an entry lacks 'instance_id'"),
        ({**content, "annotations": []}, "has no object with an identity"),
        ({**content, "annotations": [first, first]}, "video b: an identity occurs twice in frame 1"),
        ({**content, "annotations": [{**first, "bbox": [1, 2, -3, 4]}]}, "0. annotation: bbox"),
        ({**content, "annotations": [{**first, "category_id": 1}]}, "category_id 1 one of the categories"),
        ({**content, "videos": content["videos"][:1]}, "image a/0.png is of video 4, which is not there"),
    ):
        with pytest.raises(DataError) as error:
            load(tmp_path, broken)
        assert message in str(error.value)
    (tmp_path / "v.json").write_text("{")
    with pytest.raises(DataError, match="is not a json file"):
        CocoVideoFrames(tmp_path / "v.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="check json_file"):
        CocoVideoFrames(tmp_path / "none.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="set image_root"):
        CocoVideoFrames(tmp_path / "v.json", tmp_path / "none")
