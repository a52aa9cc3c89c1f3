"""Mean, recall and decay of a sequence, and the numbers and tables of a data set."""

import csv
import json

import numpy as np
import pytest

from pe_dense.evaluation import ObjectScores, format_results, is_per_class, sequence_statistics, vos_metrics
from pe_dense.evaluation.vos_scores import write_vos_tables


def test_statistics_equal_the_official_code(fixtures):
    cases = json.loads((fixtures / "davis_jf" / "expected.json").read_text())["statistics"]
    for name, case in cases.items():
        values = case["values"]
        values = np.linspace(*values["linspace"]) if isinstance(values, dict) else np.array(values, dtype=float)
        ours = sequence_statistics(values)
        assert ours.mean == pytest.approx(case["mean"], abs=1e-12), name
        assert ours.recall == pytest.approx(case["recall"], abs=1e-12), name
        if case["decay"] is not None:
            assert ours.decay == pytest.approx(case["decay"], abs=1e-12), name
        first, *_, third, last = case["ids_before_uint8"]  # right where the official 8-bit numbers are not
        head, tail = values[first : case["ids_before_uint8"][1] + 1], values[third : last + 1]
        assert ours.decay == pytest.approx(np.nanmean(head) - np.nanmean(tail), abs=1e-12), name


@pytest.mark.parametrize("frames", [256, 257, 300, 5000])
def test_decay_of_long_sequences(frames):
    """Of a straight line from 1 to 0 it is the distance between the middles of the first and the last quarter."""
    assert sequence_statistics(np.linspace(1, 0, frames)).decay == pytest.approx(0.75, abs=1 / frames)


def test_no_frame_has_no_statistics():
    with pytest.raises(ValueError, match="without a scored frame"):
        sequence_statistics(np.zeros(0))


def scores(sequence, number, j, f, seen=None):
    return ObjectScores(sequence, number, tuple(f"{i:05d}" for i in range(len(j))), np.column_stack([j, f]), seen)


def test_every_object_counts_alike():
    objects = [
        scores("a", 1, [1, 1, 1, 1], [0.8] * 4),
        scores("a", 2, [0.4], [0.6]),
        scores("b", 1, [0.1, 0.1], [0, 0]),
    ]
    metrics = vos_metrics(objects)
    assert metrics["vos/J"] == pytest.approx(50)
    assert metrics["vos/F"] == pytest.approx(140 / 3)
    assert metrics["vos/J&F"] == pytest.approx((50 + 140 / 3) / 2)
    assert metrics["vos/J_recall"] == pytest.approx(100 / 3)
    assert metrics["vos/J&F-a_2"] == pytest.approx(50)
    assert [metrics[f"vos/{k}"] for k in ("sequences", "objects", "frames")] == [2, 3, 7]
    assert "vos/G" not in metrics


def test_seen_and_unseen():
    objects = [scores("a", 1, [1], [0.8], True), scores("a", 2, [0.4], [0.6], False), scores("b", 1, [0], [0], False)]
    metrics = vos_metrics(objects)
    assert [metrics[f"vos/{k}"] for k in ("J_seen", "F_seen", "J_unseen", "F_unseen")] == pytest.approx(
        [100, 80, 20, 30]
    )
    assert metrics["vos/G"] == pytest.approx(57.5)
    assert "vos/G" not in vos_metrics(objects[:1])


def test_tables(tmp_path):
    objects = [scores("a", 1, [1, 1, 0], [0.8] * 3), scores("b-c", 1, [0.4], [0.6])]
    write_vos_tables(tmp_path / "new", objects)
    content = json.loads((tmp_path / "new" / "vos.json").read_text())
    assert content["metrics"] == {k: v for k, v in vos_metrics(objects).items() if not is_per_class(k)}
    assert content["objects"][0]["J"]["frames"] == [1, 1, 0]
    assert content["objects"][1]["F"]["mean"] == 0.6
    with (tmp_path / "new" / "global_results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    assert float(row["J-Mean"]) == pytest.approx(8 / 15, abs=1e-6)
    assert float(row["J-Decay"]) == pytest.approx(0.5, abs=1e-6)  # 1 of the first object, 0 of the second
    rows = (tmp_path / "new" / "per-sequence_results.csv").read_text().splitlines()
    assert rows == ["Sequence,J-Mean,F-Mean", "a_1,0.666667,0.800000", "b-c_1,0.400000,0.600000"]


def test_as_text():
    text = format_results(
        vos_metrics([scores("a-dog", 1, [1, 0.5], [0.8, 0.8], True), scores("b", 2, [0], [0], False)])
    )
    lines = [line.split() for line in text.splitlines()]
    assert ["task", "J&F", "J", "J_recall", "J_decay", "F", "F_recall", "F_decay"] in lines
    assert ["task", "G", "J_seen", "F_seen", "J_unseen", "F_unseen"] in lines
    assert ["vos", "2", "2", "3"] in lines
    assert ["object", "vos", "J&F", "vos", "J", "vos", "F"] in lines
    assert ["a-dog_1", "77.50", "75.00", "80.00"] in lines
