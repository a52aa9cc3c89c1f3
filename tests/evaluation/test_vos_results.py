"""Scoring folders of masks: real predictions, several processes, and unusable results."""

import json
import shutil

import cv2
import numpy as np
import pytest
from vos_cases import moving_squares, write_case, write_sequence

from pe_dense.data import DAVIS2016, VideoFolder, YouTubeVOS, write_indexed_png
from pe_dense.evaluation import evaluate_vos_results, vos_metrics, vos_results


def test_real_predictions_equal_the_official_numbers(real_data):
    folder = real_data / "davis2016_val"
    expected = json.loads((folder / "expected_fgbg_jf.json").read_text())
    scores = evaluate_vos_results(DAVIS2016(folder, split=None), folder / "results" / "osvos")
    assert [one.sequence for one in scores] == sorted(expected)
    for one in scores:
        case = expected[one.sequence]
        assert len(one.frames) == case["frames"] - 2
        for measure, statistics in zip("JF", one.statistics):
            for key, value in statistics._asdict().items():
                assert value == pytest.approx(case[f"{measure}_{key}"], abs=1e-12), (one.sequence, measure, key)


def test_several_processes_give_the_same_numbers(tmp_path, monkeypatch):
    data = write_case(tmp_path, {"long": 12, "short": 5, "one": 3})
    seen = []
    serial = evaluate_vos_results(data, tmp_path / "results", progress=lambda: seen.append(1))
    assert len(seen) == 3
    monkeypatch.setattr(vos_results, "MASKS_PER_WORKER", 1)
    parallel = evaluate_vos_results(data, tmp_path / "results", workers=2)
    assert [one.name for one in parallel] == ["long_1", "long_2", "one_1", "one_2", "short_1", "short_2"]
    for a, b in zip(serial, parallel):
        assert (a.name, a.frames) == (b.name, b.frames)
        np.testing.assert_array_equal(a.values, b.values)
    assert 0 < vos_metrics(serial)["vos/J"] < 100
    write_indexed_png(tmp_path / "results" / "long" / "00003.png", np.full((40, 60), 7))
    write_indexed_png(tmp_path / "results" / "one" / "00001.png", np.full((4, 6), 1))
    with pytest.raises(ValueError, match=r"long/00003.png has the objects 7, but .*\(and 1 other sequence .*: one\)"):
        evaluate_vos_results(data, tmp_path / "results", workers=2)


def test_first_and_last_frame_are_not_needed_nor_looked_at(tmp_path):
    data = write_case(tmp_path, {"a": 6})
    expected = evaluate_vos_results(data, tmp_path / "results")
    assert [one.frames for one in expected] == [("00001", "00002", "00003", "00004")] * 2
    (tmp_path / "results" / "a" / "00000.png").unlink()
    write_indexed_png(tmp_path / "results" / "a" / "00005.png", np.full((4, 6), 9))
    again = evaluate_vos_results(data, tmp_path / "results")
    assert all((a.values == b.values).all() for a, b in zip(expected, again))


def test_an_object_that_is_not_predicted_scores_nothing_where_it_is(tmp_path):
    data = write_case(tmp_path, {"a": 6})
    for mask in (masks := moving_squares(6)):
        mask[mask == 2] = 0
    write_sequence(tmp_path / "results" / "a", masks)
    first, second = evaluate_vos_results(data, tmp_path / "results")
    assert (first.values == 1).all()
    assert (second.values == 0).all()


def test_void_is_background(tmp_path):
    data = write_case(tmp_path, {"a": 4})
    truth = moving_squares(4)
    for mask in truth:
        mask[36:] = 255
    write_sequence(tmp_path / "truth" / "a", truth)
    write_sequence(tmp_path / "results" / "a", moving_squares(4))
    assert vos_metrics(evaluate_vos_results(data, tmp_path / "results"))["vos/J&F"] == 100


def test_a_number_that_the_first_mask_skips_is_an_object_that_is_never_there(tmp_path):
    masks = moving_squares(4)
    for mask in masks:
        mask[mask == 2] = 3
    write_sequence(tmp_path / "truth" / "a", masks)
    write_sequence(tmp_path / "results" / "a", masks)
    scores = evaluate_vos_results(VideoFolder(tmp_path / "truth"), tmp_path / "results")
    assert [one.name for one in scores] == ["a_1", "a_2", "a_3"]
    assert (scores[1].values == 1).all()


def test_every_fifth_frame_and_objects_that_appear_later(tmp_path):
    masks = moving_squares(11)
    for t, mask in enumerate(masks):
        if t < 5:
            mask[mask == 2] = 0
        if t % 5 == 0:
            write_indexed_png(tmp_path / "Annotations" / "v" / f"{t:05d}.png", mask)
    write_sequence(tmp_path / "results" / "v", masks)
    scores = evaluate_vos_results(YouTubeVOS(tmp_path), tmp_path / "results")
    assert [(one.name, one.frames) for one in scores] == [("v_1", ("00005", "00010")), ("v_2", ("00010",))]
    assert vos_metrics(scores)["vos/J&F"] == 100


def test_missing_results_are_listed_at_once(tmp_path, caplog):
    data = write_case(tmp_path, {"a": 5, "b": 5, "c": 5})
    results = tmp_path / "results"
    shutil.move(results / "c", results / "other")
    (results / "a" / "00002.png").unlink()
    (results / "b" / "00001.png").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        evaluate_vos_results(data, results)
    assert "1 sequence of 3 (c) and 2 frames of other sequences (a/00002, b/00001)" in str(caught.value)
    assert "it has a, b, other" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"results folder .*nowhere does not exist"):
        evaluate_vos_results(data, tmp_path / "nowhere")
    shutil.move(results / "other", results / "c")
    write_sequence(results / "a", moving_squares(5))
    evaluate_vos_results(data.select(["a"]), results)
    assert "2 folders not scored: b, c" in caplog.text


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((20, 30), np.uint8), r"00002.png is 30 x 20 but its annotation 60 x 40"),
        (np.zeros((40, 60, 3), np.uint8), r"00002.png is a colour picture \(RGB\); write an indexed"),
        (np.full((40, 60), 300, np.uint16), r"00002.png holds more than 8 bits"),
        (
            np.tile(np.arange(60, dtype=np.uint8), (40, 1)),
            r"has the objects 3, 4, .* and 49 more, but .* only 1, 2; a mask",
        ),
        (np.full((40, 60), 255, np.uint8), r"has the objects 255, but"),
    ],
)
def test_unusable_masks(tmp_path, picture, message):
    data = write_case(tmp_path, {"a": 5})
    assert cv2.imwrite(str(tmp_path / "results" / "a" / "00002.png"), picture)
    with pytest.raises(ValueError, match=message):
        evaluate_vos_results(data, tmp_path / "results")


def test_sequences_that_cannot_be_scored(tmp_path, caplog):
    data = write_case(tmp_path, {"a": 5, "b": 2, "c": 1})
    with pytest.raises(ValueError, match=r"2 sequences of fewer than 3 annotated frames: b \(2\), c \(1\)"):
        evaluate_vos_results(data, tmp_path / "results")
    write_sequence(tmp_path / "truth" / "empty", [np.zeros((40, 60), np.uint8)] * 4)
    data = VideoFolder(tmp_path / "truth", sequences=["a", "empty"])
    assert {one.sequence for one in evaluate_vos_results(data, tmp_path / "results")} == {"a"}
    assert "1 sequence without an object in the first mask: left out: empty" in caplog.text
    with pytest.raises(ValueError, match="nothing to score in 1 sequence"):
        evaluate_vos_results(data.select(["empty"]), tmp_path / "results")
    with pytest.raises(ValueError, match="workers must be at least 0"):
        evaluate_vos_results(data, tmp_path / "results", workers=-1)
