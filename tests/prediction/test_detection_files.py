import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pe_dense.data import DataError
from pe_dense.prediction.detection_files import FileDetections
from pe_dense.structures import encode_rle

SIZE = (48, 64)


def coco(**changes: Any) -> dict[str, Any]:
    mask = torch.zeros(SIZE, dtype=torch.uint8)
    mask[5:9, 4:10] = 1
    row = {
        "image_id": 8,
        "category_id": 7,
        "bbox": [4, 5, 6, 4],
        "score": 0.5,
        "segmentation": encode_rle(mask.numpy()),
    }
    return {
        "images": [{"id": 8, "file_name": "clip.mp4#2", "frame_id": 2}, {"id": 9, "file_name": "clip.mp4#0"}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [{**row, **changes}, {**row, "image_id": 9, "category_id": 3}],
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_mot_text_unsorted_and_with_gaps(tmp_path: Path) -> None:
    path = write(
        tmp_path / "det.txt", "5,-1,10,20,30,40,0.5,-1,-1,-1\n2,-1,1,2,3,4,0.9,-1,-1,-1\n5,-1,0,0,5,5,1,-1,-1,-1\n"
    )
    found = FileDetections(path)
    assert (found.num_frames, found.categories) == (5, None)
    assert [len(found(frame, SIZE)) for frame in range(7)] == [0, 1, 0, 0, 2, 0, 0]
    assert found(4, SIZE).boxes.tolist() == [[10, 20, 40, 60], [0, 0, 5, 5]]
    assert found(1, SIZE).scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("box", ["nan,20,30,40", "10,20,-30,40", "10,inf,30,40"])
def test_bad_mot_boxes(tmp_path: Path, box: str) -> None:
    path = write(tmp_path / "det.txt", f"1,-1,10,20,30,40,0.5,-1,-1,-1\n2,-1,{box},0.5,-1,-1,-1\n")
    with pytest.raises(DataError, match=r"det.txt, line 2: the box"):
        FileDetections(path)


def test_scores_of_another_kind(tmp_path: Path) -> None:
    path = write(tmp_path / "det.txt", "1,-1,10,20,30,40,-0.5,-1,-1,-1\n1,-1,1,2,3,4,1.5,-1,-1,-1\n")
    with pytest.raises(DataError, match=r"det.txt: scores from -0.5 to 1.5 are not within 0..1.*--score-range"):
        FileDetections(path)
    assert FileDetections(path, score_range=(0, 2))(0, SIZE).scores.tolist() == [0, 0.75]
    with pytest.raises(ValueError, match="must be ascending"):
        FileDetections(path, score_range=(1, 1))


def test_coco_by_frame_names(tmp_path: Path) -> None:
    path = write(tmp_path / "predictions.json", coco())
    found = FileDetections(path, "clip.mp4")
    assert found.categories.names == ("cat", "dog")
    assert [len(found(frame, SIZE)) for frame in range(5)] == [1, 0, 1, 0, 0]
    dog = found(2, SIZE)
    assert (dog.classes.tolist(), dog.boxes.tolist(), dog.scores.tolist()) == ([1], [[4, 5, 10, 9]], [0.5])
    assert dog.masks.shape == (1, *SIZE)
    assert dog.masks[0, 5:9, 4:10].all()
    assert dog.masks.sum() == 24
    with pytest.raises(DataError, match=r"annotations\[0\] has size \[48, 64\] but its image is \[50, 64\]"):
        found(2, (50, 64))


@pytest.mark.parametrize(
    "form", [[[4, 5, 10, 5, 10, 9, 4, 9]], {"size": list(SIZE), "counts": [197, 4, *[44, 4] * 5, 2631]}]
)
def test_other_forms_of_masks(tmp_path: Path, form: Any) -> None:
    """Polygons and runs, beside the text of the other object; an object without is warned of."""
    found = FileDetections(write(tmp_path / "found.json", coco(segmentation=form)), "clip.mp4")
    assert found.has_masks
    assert [found(frame, SIZE).masks.shape for frame in range(3)] == [(1, *SIZE), (0, *SIZE), (1, *SIZE)]
    assert torch.equal(found(2, SIZE).masks, found(0, SIZE).masks)
    assert found(2, SIZE).masks.sum() == 24


def test_objects_without_masks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = FileDetections(write(tmp_path / "found.json", coco(segmentation=[])), "clip.mp4")
    assert [int(found(frame, SIZE).masks.sum()) for frame in (0, 2)] == [24, 0]
    assert "1 of 2 objects have no segmentation (the first is annotations[0]), their masks are empty" in caplog.text
    content = coco()
    for row in content["annotations"]:
        del row["segmentation"]
    caplog.clear()
    found = FileDetections(write(tmp_path / "found.json", content), "clip.mp4")
    assert found(2, SIZE).masks is None
    assert not caplog.records


def test_damaged_masks(tmp_path: Path) -> None:
    found = FileDetections(write(tmp_path / "found.json", coco(segmentation=[[1, 2, 3, 4]])), "clip.mp4")
    assert found(0, SIZE).masks.sum() == 24
    with pytest.raises(DataError, match=r"the segmentation of annotations\[0\] has a polygon that .*; correct it or"):
        found(2, SIZE)


def test_coco_without_names(tmp_path: Path) -> None:
    content = coco()
    found = FileDetections(write(tmp_path / "predictions.json", content))
    assert [found(frame, SIZE).classes.tolist() for frame in range(3)] == [[0], [1], []]  # by name
    content["images"][1]["frame_id"] = 7
    found = FileDetections(write(tmp_path / "predictions.json", content))
    assert [frame for frame in range(9) if len(found(frame, SIZE))] == [2, 7]
    assert found.num_frames == 8


def test_coco_of_several_videos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = coco()
    content["images"] = [{"id": 8, "file_name": "a/000007.jpg"}, {"id": 9, "file_name": "b/000007.jpg"}]
    path = write(tmp_path / "predictions.json", content)
    with pytest.raises(
        DataError, match=r"'a/000007.jpg' and 'b/000007.jpg' are both frame 6 \(from 0\); give a file of"
    ):
        FileDetections(path, {"000007.jpg": 6})
    content["images"][1]["file_name"] = "b/000009.jpg"
    found = FileDetections(write(path, content), {"000007.jpg": 6, "000008.jpg": 7})
    assert [frame for frame in range(12) if len(found(frame, SIZE))] == [6]
    assert "1 of the 2 frames are not among its images, they count as frames without objects" in caplog.text
    del content["images"][0]["id"]
    with pytest.raises(DataError, match="an image has no id"):
        FileDetections(write(path, content), {"000007.jpg": 6})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [0, 0, float("nan"), 3]}, r"annotations\[0\]: bbox .* not finite"),
        ({"bbox": [0, 0, -4, 3]}, "of negative size"),
        ({"score": 40}, "not within 0..1"),
        ({"score": None}, r"annotations\[0\]: needs bbox, score .* \(score missing\); is it ground truth"),
        ({"category_id": 99}, "category_id of a category"),
    ],
)
def test_bad_coco_rows(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FileDetections(write(tmp_path / "predictions.json", coco(**changes)))


def test_coco_that_does_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "predictions.json", coco())
    with pytest.raises(DataError, match=r"of other images: the first is 'clip.mp4#2', the first frame 'a.jpg'"):
        FileDetections(path, {"a.jpg": 0})
    with pytest.raises(DataError, match=r"of other images: the first is 'clip.mp4#2', the first frame 'v.mp4#0'"):
        FileDetections(path, "v.mp4")
    with pytest.raises(DataError, match="a list of results does not say which image"):
        FileDetections(write(tmp_path / "results.json", []))
    with pytest.raises(FileNotFoundError, match=r"none.txt does not exist"):
        FileDetections(tmp_path / "none.txt")
