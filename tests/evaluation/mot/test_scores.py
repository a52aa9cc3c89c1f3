"""Metrics against stored, published, hand-made and brute-force numbers, and what is wrong with input in memory."""

import json
import logging
from pathlib import Path

import brute_force
import numpy as np
import pytest
from mot_cases import random_results, random_truth, write_mot_tree

from pe_dense.data import DataError
from pe_dense.data.mot import MOTS_FORMAT, find_mot_sequences, match_results, read_mot_results
from pe_dense.evaluation import mot
from pe_dense.structures import Tracks

BOX = [10.0, 10.0, 30.0, 50.0]


def score(truth: Tracks, results: Tracks, frames: int, protocol: mot.TrackingProtocol = mot.MOT17) -> dict[str, float]:
    return mot.score_sequence(truth, results, frames, protocol)["pedestrian"].metrics()


def test_stored_numbers_of_trackeval(fixtures: Path) -> None:
    expected = json.loads((fixtures / "mot/expected.json").read_text())
    sequences = find_mot_sequences(fixtures / "mot/gt/TOY-train")
    cases = match_results(sequences, fixtures / "mot/trackers/TOY-train/mytracker")
    rows = mot.evaluate_tracking(cases, mot.MOT17)["pedestrian"]
    stored = expected["trackeval_pypi_1_3_0"]
    assert len(stored) >= 5
    for name, values in stored.items():
        scores = rows[mot.COMBINED if name == "COMBINED_SEQ" else name]
        np.testing.assert_allclose(scores.curves()["HOTA"], values.pop("HOTA_per_alpha"), rtol=0, atol=1e-9)
        metrics = scores.metrics()
        assert len(values) > 30
        for key, value in values.items():
            assert metrics[key] == pytest.approx(value, rel=0, abs=1e-9), (name, key)
    for name, values in expected["by_hand"].items():
        metrics = rows[name].metrics()
        for key in values.keys() - {"note"}:
            assert metrics[key] == pytest.approx(values[key], abs=1e-9), (name, key)


@pytest.mark.parametrize(
    ("name", "idf1", "mota", "counts"),
    [("TUD-Campus", 55.8, 52.6, [13, 150, 7]), ("TUD-Stadtmitte", 64.5, 56.4, [45, 452, 7])],
)
def test_published_numbers(real_data: Path, name: str, idf1: float, mota: float, counts: list[int]) -> None:
    (sequence,) = find_mot_sequences(real_data / "mot" / name, ground_truth="gt.txt")
    table = mot.evaluate_tracking([sequence.with_results(real_data / "mot" / name / "test.txt")], mot.MOT15)
    metrics = table["pedestrian"][name].metrics()
    assert [metrics[k] for k in ("CLR_FP", "CLR_FN", "IDSW")] == counts
    assert 100 * metrics["IDF1"] == pytest.approx(idf1, abs=0.05)
    assert 100 * metrics["MOTA"] == pytest.approx(mota, abs=0.051)


@pytest.mark.parametrize("seed", range(8))
def test_every_matching_tried(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames: list[brute_force.Frame] = []
    columns: list[list[tuple[int, int, list[float]]]] = [[], []]
    for t in range(12):
        truth = [(k, [x := 9.0 * k + t + rng.normal(), 0, x + 20, 30.0]) for k in range(4) if rng.random() < 0.8]
        found = [(k + 4 * (t > 6) * (k < 2), [x := b[0] + 4 * rng.normal(), rng.normal(), x + 20, 30 + rng.normal()])
                 for k, b in truth if rng.random() < 0.85]  # fmt: skip
        for side, objects in zip(columns, (truth, found)):
            side += [(t, k, box) for k, box in objects]
        similarity = [[brute_force.iou(a, b) for _, b in found] for _, a in truth]
        frames.append(([k for k, _ in truth], [k for k, _ in found], similarity))
    sides = [Tracks.create([r[0] for r in c], [r[2] for r in c], [r[1] for r in c]) for c in columns]
    metrics = score(*sides, 12)
    expected = {**brute_force.hota(frames), **brute_force.clear(frames), **brute_force.identity(frames)}
    assert expected["CLR_TP"] > 5
    for key, value in expected.items():
        assert metrics[key] == pytest.approx(value, abs=1e-9), key


def test_preprocessing_of_the_benchmarks() -> None:
    # five objects far apart; the tracker finds all: pedestrian, ignored pedestrian, vehicle, static person, crowd
    boxes = np.array(BOX) + 100 * np.arange(5)[:, None]
    ids = np.arange(5)
    truth = Tracks.create(np.zeros(5), boxes, ids, classes=[1, 1, 6, 7, 13], ignored=[0, 1, 1, 1, 1])
    results = Tracks.create(np.zeros(5), boxes, ids + 10)
    wrong = [int(score(truth, results, 1, p)["CLR_FP"]) for p in (mot.MOT15, mot.MOT17, mot.MOT20)]
    assert wrong == [4, 3, 2]
    assert [score(truth, results, 1, p)["CLR_TP"] for p in (mot.MOT15, mot.MOT17, mot.MOT20)] == [1, 1, 1]


def test_one_side_without_objects() -> None:
    tracks = Tracks.create([0, 1], [BOX, BOX], [3, 3])
    nothing = score(tracks, Tracks.empty(), 2)
    assert (nothing["HOTA"], nothing["MOTA"], nothing["IDF1"]) == (0, 0, 0)
    assert (nothing["CLR_FN"], nothing["ML"], nothing["MLR"]) == (2, 1, 1)
    wrong = score(Tracks.empty(), tracks, 2)
    assert (wrong["CLR_FP"], wrong["IDFP"], wrong["MOTA"]) == (2, 2, 0)
    assert all(np.isfinite(v) for v in score(Tracks.empty(), Tracks.empty(), 2).values())


def test_rows_in_any_order_and_gaps_between_frames() -> None:
    rng = np.random.default_rng(0)
    truth = random_truth(rng, 30, 6, (1, 8))
    results = random_results(rng, truth, 30)
    shuffled = results[rng.permutation(len(results))]
    same, other = score(truth, results, 30), score(truth, shuffled, 30)
    assert same["CLR_TP"] > 20
    assert same == pytest.approx(other, abs=1e-12)
    later = Tracks.create(truth.frames * 3, truth.boxes, truth.ids)  # two empty frames after each
    assert score(later, later, 90)["HOTA"] == pytest.approx(1)


def test_processes_give_the_same_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases = {}
    for name in ("A", "B", "C"):
        truth = random_truth(rng, 20, 5, (1, 8))
        cases[name] = truth, random_results(rng, truth, 20), 20
    write_mot_tree(tmp_path, cases)
    found = match_results(find_mot_sequences(tmp_path / "gt/TOY-train"), tmp_path / "trackers/TOY-train/ours")
    alone, shared = (mot.evaluate_tracking(found, mot.MOT17, workers) for workers in (1, 2))
    assert mot.as_json(alone) == mot.as_json(shared)
    assert list(alone["pedestrian"]) == ["A", "B", "C", mot.COMBINED]
    (tmp_path / "trackers/TOY-train/ours/data/B.txt").write_text("1,1,0,0,-5,5,1\n")
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"B\.txt, line 1: the box has the negative size"):
            mot.evaluate_tracking(found, mot.MOT17, workers)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (Tracks.create([2], [BOX], [1]), "results has an object in frame 2 .* but there are 2 frames"),
        (Tracks.create([0], [BOX]), "objects without an id"),
        (Tracks.create([0], [[0, 0, np.nan, 1]], [1]), "not finite or of negative size"),
        (Tracks.create([0], [[5, 5, 1, 9]], [1]), "not finite or of negative size"),
        (Tracks.create([0, 0], [BOX, BOX], [1, 1]), "results has the id 1 twice in frame 0"),
    ],
)
def test_wrong_tracks_in_memory(results: Tracks, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(Tracks.create([0], [BOX], [1]), results, 2)


def test_wrong_benchmark(tmp_path: Path) -> None:
    truth = Tracks.create([0], [BOX], [1], classes=[-1])
    with pytest.raises(ValueError, match=r"has the class -1, .* choose the protocol of MOT15"):
        score(truth, truth, 1)
    assert score(truth, truth, 1, mot.MOT15)["HOTA"] == pytest.approx(1)
    with pytest.raises(ValueError, match="MOTS compares masks"):
        score(truth, truth, 1, mot.MOTS)
    (tmp_path / "r.txt").write_text("1,1,0,0,5,5,1\n")
    with pytest.raises(DataError, match="not the 6 of MOTS"):
        MOTS_FORMAT.read_results(tmp_path / "r.txt")
    assert len(read_mot_results(tmp_path / "r.txt")) == 1
    with pytest.raises(ValueError, match="no sequence to evaluate"):
        mot.evaluate_tracking([], mot.MOT17)


def test_results_that_touch_nothing_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    truth = Tracks.create([0], [BOX], [1])
    with caplog.at_level(logging.WARNING):
        score(truth, Tracks.create([0], [[900, 900, 950, 950]], [1]), 1)
    assert "of another sequence?" in caplog.text


def test_files_and_tables(tmp_path: Path) -> None:
    truth = Tracks.create([0, 1], [BOX, BOX], [3, 3])
    write_mot_tree(tmp_path, {"A": (truth, truth, 2), "B": (truth, Tracks.empty(), 2)})
    cases = match_results(find_mot_sequences(tmp_path / "gt/TOY-train"), tmp_path / "trackers/TOY-train/ours")
    table = mot.evaluate_tracking(cases, mot.MOT17)
    mot.write_scores(table, tmp_path / "out/scores.json")
    stored = json.loads((tmp_path / "out/scores.json").read_text())
    assert stored["pedestrian"]["A"]["HOTA"] == pytest.approx(1)
    assert len(stored["pedestrian"][mot.COMBINED]["curves"]["HOTA"]) == 19
    mot.write_scores(table, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].startswith("class,sequence,HOTA,")
    assert [line.split(",")[1] for line in lines[1:]] == ["A", "B", mot.COMBINED]
    text = mot.format_tracking(table, detailed=True)
    assert max(len(line) for line in text.splitlines()) <= 90
    combined = next(line.split() for line in text.splitlines() if line.startswith(mot.COMBINED))
    assert combined[1:4] == ["70.71", "50.00", "100.00"]
    assert mot.COMBINED not in mot.format_tracking(mot.evaluate_tracking(cases[:1], mot.MOT17))
