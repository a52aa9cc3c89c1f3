"""What ``tools/jobs.py`` shows."""

import json
import time
from pathlib import Path

import pytest

from pe_dense.launch import run_status
from pe_dense.launch.attempts import begin, finish
from pe_dense.launch.job_files import JobFileError, JobFiles, JobRecord
from pe_dense.launch.run_log_tail import tail
from pe_dense.launch.run_status import describe, duration, find_runs, read_status, table
from pe_dense.launch.slurm_commands import QueueEntry


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    files = JobFiles(tmp_path / "output" / "run")
    files.write_job(JobRecord(
        kind="slurm", job_id="7", submitted=time.time(), command=["submit"], working_dir="/", commit="abc" * 10,
        dirty=True, snapshot="/s", logs=str(files.folder / "logs"), world_size=3,
    ))  # fmt: skip
    return files


def in_queue(monkeypatch: pytest.MonkeyPatch, entry: QueueEntry | None) -> None:
    monkeypatch.setattr(run_status, "queue_entries", lambda ids: {} if entry is None else {ids[0]: entry})
    monkeypatch.setattr(run_status, "accounting_entry", lambda job_id: None)


def beat(files: JobFiles, rank: int, step: int, step_time: float, ago: float = 0.0) -> None:
    files.heartbeats.mkdir(exist_ok=True)
    data = {"rank": rank, "world_size": 3, "host": f"n{rank}", "pid": 1, "state": "training", "step": step,
            "total_steps": 1000, "time": time.time() + 1 - ago, "step_time": step_time}  # fmt: skip
    (files.heartbeats / f"rank_{rank:05}.json").write_text(json.dumps(data))


def test_waiting(files: JobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    in_queue(monkeypatch, QueueEntry("PENDING", "", "Resources", "0:00"))
    status = read_status(files.run_dir)
    assert (status.state, status.step, status.total_steps, status.eta_seconds) == ("PENDING", 0, None, None)
    assert "state:     PENDING (Resources)" in describe(status)


def test_running(files: JobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    in_queue(monkeypatch, QueueEntry("RUNNING", "n[0-2]", "", "1:00"))
    begin(files, "7", ["n0"], 3)
    finish(files, "7", "requeued", "by SIGUSR2")
    begin(files, "7", ["n0"], 3)
    beat(files, 0, 120, 0.5)
    beat(files, 1, 119, 0.9)
    lines = [{"step": step, "loss": 1 / step} for step in range(114, 121)] + [{"step": 120, "bbox/AP": 3.0}]
    (files.run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status = read_status(files.run_dir)
    assert (status.step, status.total_steps, status.restarts, len(status.losses)) == (120, 1000, 1, 5)
    assert status.eta_seconds == pytest.approx(880 * 0.7)
    assert status.slowest is not None
    assert status.slowest.rank == 1
    text = describe(status)
    for part in (
        "restarts:  1 (requeued by SIGUSR2)", "step:      120 of 1000 (12.0 %)", "eta:       00:10:16",
        "0.008333 (step 120)", "nodes:     n[0-2]", "commit abcabcabcabc, with uncommitted changes, in /s",
        "slowest:   rank 1 on n1", "not heard: ranks 2",
    ):  # fmt: skip
        assert part in text, text
    assert "STALLED" not in text
    assert "7    RUNNING  120/1000" in table([status])

    later = read_status(files.run_dir, now=time.time() + 300)
    assert [b.rank for b in later.stalled] == [0, 1]
    assert "STALLED:   rank 0 on n0: training, step 120" in describe(later)


@pytest.mark.parametrize(
    ("ended", "entry", "state"),
    [
        ("completed", None, "COMPLETED"),
        ("failed", None, "FAILED"),
        ("died", None, "FAILED"),
        ("terminated", None, "CANCELLED"),
        ("requeued", None, "REQUEUED"),
        ("completed", QueueEntry("FAILED"), "COMPLETED"),
        ("failed", QueueEntry("FAILED"), "FAILED"),
        ("requeued", QueueEntry("TIMEOUT"), "TIMEOUT"),
        ("requeued", QueueEntry("PENDING"), "PENDING"),
    ],
)
def test_states(
    files: JobFiles, monkeypatch: pytest.MonkeyPatch, ended: str, entry: QueueEntry | None, state: str
) -> None:
    in_queue(monkeypatch, entry)
    begin(files, "7", ["n0"], 3)
    finish(files, "7", ended, "because")
    status = read_status(files.run_dir)
    assert status.state == state
    assert ("because" in describe(status).split("restarts")[0]) == (
        state in ("FAILED", "COMPLETED", "CANCELLED", "TIMEOUT")
    )


def test_nothing_known(files: JobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    in_queue(monkeypatch, None)
    assert read_status(files.run_dir).state == "UNKNOWN"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")  # neither squeue nor sacct
    assert read_status(files.run_dir).state == "UNKNOWN"
    with pytest.raises(JobFileError, match="no job was submitted with"):
        read_status(files.run_dir.parent)


def test_find_runs_and_durations(files: JobFiles) -> None:
    hidden = files.folder / "snapshot" / "copy" / "slurm"
    hidden.mkdir(parents=True)
    (hidden / "job.json").write_text("{}")
    assert list(find_runs([files.run_dir.parent])) == [files.run_dir]
    with pytest.raises(FileNotFoundError, match="folder none does not exist; give the folder that holds your runs"):
        list(find_runs([Path("none")]))
    assert [duration(s) for s in (None, 5, 3725, 90000)] == ["-", "00:00:05", "01:02:05", "1 d 01:00:00"]


def test_tail(files: JobFiles) -> None:
    log = files.read_job().log(errors=True)
    with pytest.raises(JobFileError, match="rank 0 of job 7 has not started yet"):
        list(tail(files.run_dir))
    with pytest.raises(JobFileError, match="job 7 has no rank 3: it has 3 processes"):
        list(tail(files.run_dir, 3))
    log.parent.mkdir(parents=True)
    log.write_text("a\nb\nc\n")
    assert list(tail(files.run_dir, lines=2)) == ["b\n", "c\n"]
    following = tail(files.run_dir, lines=1, follow=True)
    assert next(following) == "c\n"
    with log.open("a") as file:
        file.write("d\n")
    assert next(following) == "d\n"
