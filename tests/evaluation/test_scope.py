"""Which images results are of, and whether a json is the one they were made for."""

import json
import logging
from pathlib import Path

import pytest

from pe_dense.evaluation import read_evaluated_images
from pe_dense.evaluation.scope import IMAGES_NAME, PREDICTIONS_NAME, write_evaluated_images

NAMES = {3: "c.jpg", 7: "deep/g.jpg", 8: "h.jpg"}


def data_set(path: Path, names: dict[int, str]) -> Path:
    path.write_text(json.dumps({"images": [{"id": i, "file_name": name} for i, name in names.items()]}))
    return path


def test_the_note_beside_the_results(tmp_path, caplog):
    truth = data_set(tmp_path / "val.json", NAMES)
    results = tmp_path / "results.json"
    assert read_evaluated_images(results, truth) is None
    write_evaluated_images(tmp_path, truth, [(7, "deep/g.jpg"), (3, "c.jpg")])
    assert read_evaluated_images(results, truth) == [7, 3]
    assert not caplog.records
    copy = data_set(tmp_path / "copy.json", {**NAMES, 7: "g.jpg"})  # its names are relative to another folder
    with caplog.at_level(logging.WARNING):
        assert read_evaluated_images(results, copy) == [7, 3]
    assert f"results.json was made for {truth}, not for {copy}; is it a copy?" in caplog.text


@pytest.mark.parametrize(
    ("names", "found"), [({3: "x.jpg", 7: "g.jpg"}, "'x.jpg' in"), ({7: "deep/g.jpg"}, "not in"), ({}, "not in")]
)
def test_results_of_another_data_set_with_the_same_image_ids(tmp_path, names, found):
    write_evaluated_images(tmp_path, tmp_path / "val.json", [(3, "c.jpg"), (7, "deep/g.jpg")])
    other = data_set(tmp_path / "train.json", names)
    message = (
        rf"results\.json holds results of another data set: its image id 3 is 'c\.jpg' and {found} .*train\.json; "
        r"give the json that was evaluated, .*val\.json, and its images"
    )
    with pytest.raises(ValueError, match=message):
        read_evaluated_images(tmp_path / "results.json", other)


def test_results_of_predicted_files_are_known_by_their_data_set(tmp_path):
    truth = data_set(tmp_path / "val.json", NAMES)
    data_set(tmp_path / PREDICTIONS_NAME, {3: "val/c.jpg"})
    assert read_evaluated_images(tmp_path / "results.json", truth) == [3]
    data_set(tmp_path / PREDICTIONS_NAME, {3: "h.jpg"})
    with pytest.raises(ValueError, match=r"predict\.py numbers the images itself; use the results of an evaluation"):
        read_evaluated_images(tmp_path / "results.json", truth)


def test_malformed_files(tmp_path):
    truth = data_set(tmp_path / "val.json", NAMES)
    (tmp_path / IMAGES_NAME).write_text("[3, 7]")
    with pytest.raises(ValueError, match="does not list the evaluated images; evaluate again, or delete it"):
        read_evaluated_images(tmp_path / "results.json", truth)
    write_evaluated_images(tmp_path, truth, [(3, "c.jpg")])
    truth.write_text("[]")
    with pytest.raises(ValueError, match=r"val\.json has no list 'images'"):
        read_evaluated_images(tmp_path / "results.json", truth)
