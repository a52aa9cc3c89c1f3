"""Console, log file and metrics."""

import json
import logging
from pathlib import Path

import pytest

from pe_dense.engine.run_log import RunWriter, read_metrics, setup_logging


def test_no_duplicate_handlers(tmp_path: Path) -> None:
    for folder in ("a", "b", "b"):
        setup_logging(tmp_path / folder)
    logging.getLogger("pe_dense.engine.x").info("once")
    assert (tmp_path / "b" / "log.txt").read_text().count("once") == 1
    assert "once" not in (tmp_path / "a" / "log.txt").read_text()
    setup_logging()
    logging.getLogger("pe_dense.engine.x").info("before there is a folder")
    setup_logging(tmp_path / "d")
    assert (tmp_path / "d" / "log.txt").read_text().count("before there is a folder") == 1
    setup_logging(tmp_path / "c", main=False)
    assert not (tmp_path / "c").exists()


def test_resume_drops_later_lines(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    for step in (2, 4, 6):
        writer.write(step, step / 10, {"loss": 1.0 / step, "lr": 0.1})
    writer.write(4, 0.4, {"bbox/AP": 3.5, "bbox/AP-cat": float("nan")})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # cut off by a kill
    resumed = RunWriter(tmp_path, resume_step=4)
    assert [line["step"] for line in read_metrics(resumed.path)] == [2, 4, 4]
    results = resumed.evaluations()
    assert list(results) == [4]
    assert results[4]["bbox/AP"] == 3.5
    resumed.close()
    for text in resumed.path.read_text().splitlines():
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not json"))
    fresh = RunWriter(tmp_path)
    fresh.close()
    assert read_metrics(fresh.path) == []
