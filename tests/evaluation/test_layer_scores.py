"""Scores of layers: the best one, the table, the files."""

import csv
import json
import math
from pathlib import Path

import pytest

from pe_dense.evaluation import LayerScores

RESULTS = {
    "layer_00/depth/rmse": 0.5, "layer_00/depth/delta1": 0.6, "layer_00/depth/images": 7.0,
    "layer_03/depth/rmse": 0.25, "layer_03/depth/delta1": math.nan,
    "layer_11/depth/rmse": 0.25, "layer_11/depth/delta1": 0.9, "loss": 3.0,
}  # fmt: skip


def test_best_layers() -> None:
    scores = LayerScores.from_results(RESULTS)
    assert scores.layers == [0, 3, 11]
    assert list(scores.scores) == ["depth/rmse", "depth/delta1"]
    assert scores.headlines == ["depth/rmse"]
    assert scores.best("depth/rmse") == 3  # lower is better; the first of equals
    assert scores.best("depth/delta1") == 11
    assert LayerScores({"x": {0: math.nan}}).best("x") is None
    assert LayerScores({"x": {0: math.nan}}).headlines == ["x"]
    with pytest.raises(ValueError, match="metric depth/AP is unknown: choose one of depth/rmse, depth/delta1"):
        scores.best("depth/AP")
    with pytest.raises(ValueError, match=r"the results \(depth/rmse\) are not those of layers"):
        LayerScores.from_results({"depth/rmse": 0.5})


def test_scores_of_tracking() -> None:
    """How many objects there were is no score, and a smaller decay is the better one."""
    numbers = {"J&F": (40.0, 50.0), "J": (30.0, 20.0), "J_decay": (3.0, 5.0), "F": (50.0, 80.0), "sequences": (2, 2),
               "objects": (3, 3), "frames": (9, 9)}  # fmt: skip
    scores = LayerScores.from_results({f"layer_{i:02d}/vos/{k}": v[i] for k, v in numbers.items() for i in (0, 1)})
    assert {name: scores.best(name) for name in scores.scores} == {
        "vos/J&F": 1, "vos/J": 0, "vos/J_decay": 0, "vos/F": 1,
    }  # fmt: skip
    assert scores.headlines == ["vos/J&F", "vos/J", "vos/F"]


def test_table_and_files(tmp_path: Path) -> None:
    scores = LayerScores.from_results(RESULTS)
    lines = scores.table().splitlines()
    assert [line.split() for line in lines] == [
        ["layer", "depth/rmse", "depth/delta1"],
        ["0", "0.5000", "0.6000"],
        ["3", "0.2500*", "-"],
        ["11", "0.2500*", "0.9000*"],
    ]
    assert len({line.index(".") for line in lines[1:]}) == 1
    paths = scores.save(tmp_path / "new" / "scores")
    assert [p.name for p in paths] == ["scores.json", "scores.csv"]
    found = json.loads(paths[0].read_text())
    assert found["best"] == {"depth/rmse": 3, "depth/delta1": 11}
    assert found["layers"]["3"] == {"depth/rmse": 0.25, "depth/delta1": None}
    rows = list(csv.DictReader(paths[1].open()))
    assert [row["layer"] for row in rows] == ["0", "3", "11"]
    assert rows[1] == {"layer": "3", "depth/rmse": "0.25", "depth/delta1": ""}


def test_table_of_many_columns() -> None:
    """Rows fit on a screen, and each value stands in its column's row."""
    values = {f"sem_seg/number {i}": {0: float(i), 5: i + 0.5, 11: i + 0.25} for i in range(20)}
    values["sem_seg/same"] = {0: 1.0, 5: 1.0, 11: 1.0}
    blocks = [block.splitlines() for block in LayerScores(values).table().split("\n\n")]
    assert len(blocks) > 1
    assert all(len(block) == 4 and block[0].startswith("layer") for block in blocks)
    assert all(60 < len(line) <= 112 for block in blocks[:-1] for line in block)
    assert [cell for block in blocks for cell in block[2].split()[1:]] == [f"{i}.50*" for i in range(20)] + ["1.00"]
