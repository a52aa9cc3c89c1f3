"""tools/evaluate_mot.py as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate_mot.py"


def call(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_tables_files_and_errors(tmp_path: Path) -> None:
    (tmp_path / "val/S/gt").mkdir(parents=True)
    (tmp_path / "ours").mkdir()
    rows = "1,1,10,10,20,40,1,1,1\n2,1,11,10,20,40,1,1,1\n"
    (tmp_path / "val/S/gt/gt.txt").write_text(rows)
    (tmp_path / "ours/S.txt").write_text(rows)
    arguments = ("--benchmark", "DanceTrack", "--gt", tmp_path / "val", "--results", tmp_path / "ours")
    done = call(*arguments, "--output", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "100.00" in done.stdout
    assert json.loads((tmp_path / "scores.json").read_text())["pedestrian"]["S"]["MOTA"] == 1

    (tmp_path / "ours/S.txt").write_text(rows + "2,2,nan,1,1,1,1,1,1\n")
    done = call(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: results ")
    assert "S.txt, line 3: the box" in done.stderr
    assert "Traceback" not in done.stderr
