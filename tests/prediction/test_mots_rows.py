from pathlib import Path

import pytest
import torch
from pycocotools import mask as coco_mask

from pe_dense.data.mot import read_mots
from pe_dense.prediction.mots_rows import MOTS_NUMBERS, MotsRows
from pe_dense.structures import Instances

SIZE = (12, 16)


def objects(*boxes: tuple[int, int, int, int], scores: list[float], classes: list[int]) -> Instances:
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        mask[y0:y1, x0:x1] = True
    ids = torch.arange(len(boxes)) + 5
    corners = torch.tensor(boxes).float()
    return Instances(SIZE, corners, torch.tensor(classes), torch.tensor(scores), masks, track_ids=ids)


def test_pixels_go_to_the_highest_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = MotsRows(("person", "dog", "car"), MOTS_NUMBERS)
    rows.add(0, objects((0, 0, 8, 4), (6, 0, 12, 4), (0, 0, 16, 12), scores=[0.5, 0.9, 1.0], classes=[0, 2, 1]))
    rows.add(1, Instances.empty(SIZE))
    rows.add(2, objects((1, 1, 3, 3), (0, 0, 4, 4), scores=[0.5, 0.9], classes=[0, 0]))  # the first is covered
    found = read_mots(rows.write(tmp_path / "mots" / "clip.txt"), "results")
    assert (found.frames.tolist(), found.ids.tolist(), found.classes.tolist()) == ([0, 0, 2], [5, 6, 6], [2, 1, 2])
    assert found.boxes.tolist() == [[0, 0, 6, 4], [6, 0, 12, 4], [0, 0, 4, 4]]
    assert coco_mask.area(list(found.masks)).tolist() == [24, 24, 16]
    assert "clip.txt: 1 mask of classes without a number in MOTS left out" in caplog.text


def test_nothing_is_an_empty_file(tmp_path: Path) -> None:
    assert MotsRows(("car",), MOTS_NUMBERS).write(tmp_path / "clip.txt").read_text() == ""


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"none of car, pedestrian, person is among .* cat, dog: .* --mots cat=2"):
        MotsRows(("cat", "dog"), MOTS_NUMBERS)
    with pytest.raises(ValueError, match=r"dog=3: MOTS has the classes 1 \(car\) and 2 \(pedestrian\)"):
        MotsRows(("cat", "dog"), {"dog": 3})
    with pytest.raises(ValueError, match=r"classes and masks, which det.txt has not"):
        MotsRows(None, MOTS_NUMBERS)
    plain = objects((0, 0, 4, 4), scores=[0.5], classes=[0])
    plain.masks = None
    with pytest.raises(ValueError, match="MOTS needs masks, and the detections have only boxes"):
        MotsRows(("car",), MOTS_NUMBERS).add(0, plain)
