"""The same files to the same numbers as the published code, where that is installed."""

from pathlib import Path

import numpy as np
import pytest
import trackeval_peer as peer
from mot_cases import (
    random_results,
    random_truth,
    with_masks,
    write_kitti_tree,
    write_mot_tree,
    write_mots_tree,
)

from pe_dense.data.mot import KITTI_FORMAT, MOTS_FORMAT, find_kitti_sequences, find_mot_sequences, match_results
from pe_dense.evaluation import mot
from pe_dense.structures import Tracks

EVERY_CLASS = tuple(range(1, 14))


def mot_cases(classes: tuple[int, ...]) -> dict[str, tuple[Tracks, Tracks, int]]:
    rng = np.random.default_rng(0)
    cases = {}
    for index in range(6):
        truth = random_truth(rng, 40, 14, classes)
        cases[f"S-{index}"] = truth, random_results(rng, truth, 40), 40
    truth = random_truth(rng, 40, 14, (1,))
    return {**cases, "S-nothing-found": (truth, Tracks.empty(), 40), "S-nothing-there": (Tracks.empty(), truth, 40)}


@pytest.mark.parametrize(("benchmark", "protocol"), [("MOT15", mot.MOT15), ("MOT17", mot.MOT17), ("MOT20", mot.MOT20)])
def test_boxes(tmp_path: Path, benchmark: str, protocol: mot.MotProtocol) -> None:
    write_mot_tree(tmp_path, mot_cases((1, 1, 2, 6, 7, 8, 12, 3, 13)))
    sequences = find_mot_sequences(tmp_path / "gt/TOY-train")
    assert len(sequences) == 8
    ours = mot.evaluate_tracking(match_results(sequences, tmp_path / "trackers/TOY-train/ours"), protocol)
    theirs = peer.evaluate(
        "MotChallenge2DBox", GT_FOLDER=str(tmp_path / "gt/TOY-train"), SKIP_SPLIT_FOL=True, BENCHMARK=benchmark,
        TRACKERS_FOLDER=str(tmp_path / "trackers/TOY-train"), SEQMAP_FILE=str(tmp_path / "gt/seqmaps/TOY-train.txt"),
    )  # fmt: skip
    peer.assert_same(ours, theirs)


def test_kitti(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    cases = {}
    for index in range(4):
        truth = random_truth(rng, 40, 20, (1, 1, 2, 3, 4, 4, 5, 6, 9))
        truth = Tracks.create(
            truth.frames, truth.boxes, truth.ids, classes=truth.classes,
            truncation=rng.choice(3, len(truth), p=[0.8, 0.1, 0.1]), occlusion=rng.choice(4, len(truth)),
        )  # fmt: skip
        cases[f"{index:04d}"] = truth, random_results(rng, truth[truth.classes != 9], 40, jitter=4), 40
    write_kitti_tree(tmp_path, cases)
    seqmap = tmp_path / "gt/evaluate_tracking.seqmap.training"
    sequences = find_kitti_sequences(tmp_path / "gt", seqmap=seqmap, track_format=KITTI_FORMAT)
    assert any(s.read_ground_truth().ignored.any() for s in sequences)
    ours = mot.evaluate_tracking(match_results(sequences, tmp_path / "trackers/ours"), mot.KITTI)
    theirs = peer.evaluate("Kitti2DBox", GT_FOLDER=str(tmp_path / "gt"), TRACKERS_FOLDER=str(tmp_path / "trackers"))
    peer.assert_same(ours, theirs)


def test_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cases = {}
    for index in range(3):
        truth = random_truth(rng, 20, 8, (2, 2, 2, 10), size=50)
        results = random_results(rng, truth, 20)
        results = Tracks.create(results.frames, results.boxes, results.ids, classes=np.full(len(results), 2))
        cases[f"S-{index}"] = with_masks(truth, rng), with_masks(results, rng), 20
    write_mots_tree(tmp_path, cases)
    sequences = find_mot_sequences(tmp_path / "gt/MOTS-train", track_format=MOTS_FORMAT)
    assert any(s.read_ground_truth().ignored.any() for s in sequences)
    ours = mot.evaluate_tracking(match_results(sequences, tmp_path / "trackers/MOTS-train/ours"), mot.MOTS)
    theirs = peer.evaluate(
        "MOTSChallenge",
        GT_FOLDER=str(tmp_path / "gt"),
        TRACKERS_FOLDER=str(tmp_path / "trackers"),
        SPLIT_TO_EVAL="train",
    )
    peer.assert_same(ours, theirs)
