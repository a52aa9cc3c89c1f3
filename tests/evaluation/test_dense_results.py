"""Reading saved predictions: what is refused."""

import json

import cv2
import numpy as np
import pytest
from dense_cases import DepthSet, LabelSet, feed, label_case

from pe_dense.evaluation import DenseResults, DepthEvaluator, SemSegEvaluator, evaluate_dense_results


@pytest.fixture
def folder(tmp_path):
    data = DepthSet([np.full((4, 5), 2.0)] * 2)
    feed(DepthEvaluator(data, output_dir=tmp_path, save=True), "depth", data.depths)
    return tmp_path / "depth"


def test_index_that_is_missing_or_something_else(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"results index file .* does not exist"):
        DenseResults(tmp_path / "other" / "predictions.json")
    (folder / "predictions.json").write_text("[]")
    with pytest.raises(ValueError, match="is not an index of depth or label maps"):
        DenseResults(folder)


def test_results_of_other_data(tmp_path, folder):
    other = DepthSet([np.ones((4, 5))] * 2, names=["elsewhere/rgb_00000.jpg", "b.jpg"])
    with pytest.raises(ValueError, match=r"image 1 is room/rgb_00001.jpg in the results and b.jpg in the data set"):
        evaluate_dense_results(DepthEvaluator(other), folder)
    with pytest.raises(ValueError, match=r"image 1 is .* in the results and missing in the data set"):
        DenseResults(folder).match_data(DepthSet([np.ones((4, 5))]))
    truths, predictions = label_case()
    names = list("abcde")
    feed(SemSegEvaluator(LabelSet(truths, names), output_dir=tmp_path, save=True), "sem_seg", predictions)
    renamed = LabelSet(truths, ["z", *names[1:]])
    with pytest.raises(ValueError, match=r"of other classes \(5 classes\) than the data set's \(5\)"):
        DenseResults(tmp_path / "sem_seg").match_data(renamed)


def test_unreadable_predictions(folder):
    results = DenseResults(folder)
    with pytest.raises(ValueError, match="has no prediction for image 9"):
        results.output(9)
    first, second = (folder / row["file"] for row in json.loads((folder / "predictions.json").read_text())["images"])
    first.unlink()
    with pytest.raises(ValueError, match=r"rgb_00000.png cannot be read; it must be a 16-bit single-channel PNG"):
        results.output(0)
    cv2.imwrite(str(second), np.zeros((4, 5), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"rgb_00001.png is uint8 of shape \(4, 5\); it must be a 16-bit"):
        results.output(1)


def test_other_images_of_the_same_names(tmp_path, caplog):
    """Both of two data sets may have a 000001.jpg."""
    depths = [np.full((4, 5), 2.0)] * 2

    def images(folder, *contents):
        paths = [tmp_path / folder / f"{i}.jpg" for i in range(len(contents))]
        for path, content in zip(paths, contents):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return DepthSet(depths, names=[str(path) for path in paths])

    predicted = images("predicted", b"first", b"second")
    feed(DepthEvaluator(predicted, output_dir=tmp_path, save=True), "depth", depths)
    index = tmp_path / "depth" / "predictions.json"
    unnumbered = json.loads(index.read_text())
    for row in unnumbered["images"]:
        del row["image_id"]
    other = tmp_path / "depth" / "unnumbered.json"
    other.write_text(json.dumps(unnumbered))
    for results in (index, other):
        for contents in ((b"first", b"longer than it"), (b"first", b"SECOND")):
            with pytest.raises(ValueError, match=r"for .*predicted/1.jpg, and .*other/1.jpg of the data set"):
                DenseResults(results).match_data(images("other", *contents))
        copies = images("copies", b"first", b"second")
        DenseResults(results).match_data(copies)
    assert "has it moved" not in caplog.text
    for path in predicted.names:
        (tmp_path / path).unlink()
    assert evaluate_dense_results(DepthEvaluator(copies), index)["depth/abs_rel"] == 0
    assert f"was made for {predicted.names[0]}, not for {copies.names[0]}; has it moved?" in caplog.text
