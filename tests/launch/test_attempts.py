"""Starts of a job, signs of life, and the locks of a run directory."""

import json
import os
import time
from pathlib import Path

import pytest

from pe_dense.engine.heartbeat import last_signs, read_heartbeats
from pe_dense.launch import job_files
from pe_dense.launch.attempts import MAX_STARTS, begin, finish, read_attempts, restarts
from pe_dense.launch.job_files import JobFileError, JobFiles, read_json
from pe_dense.launch.slurm_commands import SlurmError


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path / "run")


def beat(files: JobFiles, rank: int, step: int, ago: float = 0.0, state: str = "training") -> None:
    files.heartbeats.mkdir(parents=True, exist_ok=True)
    data = {"rank": rank, "world_size": 2, "host": f"n{rank}", "pid": 1, "state": state, "step": step,
            "total_steps": 100, "time": time.time() - ago, "step_time": 0.5}  # fmt: skip
    (files.heartbeats / f"rank_{rank:05}.json").write_text(json.dumps(data))


def test_dies_three_times_at_the_same_step(files: JobFiles) -> None:
    for number in range(3):
        assert begin(files, "7", ["n1"], 2) == ""
        beat(files, 1, 5 + number, ago=-1)
        if number == 1:
            finish(files, "7", "died", "rank 0 hangs")  # noted by the others
    assert restarts(read_attempts(files), "7") == 2
    reason = begin(files, "7", ["n1"], 2)
    assert reason.startswith("the job died 3 times after step 0 without saving a later one, it is given up (start 1: ")
    assert "start 2: rank 0 hangs; start 3: last sign of life: rank 1 on n1: training, step 7" in reason
    assert begin(files, "8", ["n1"], 2) == ""  # submitted again: another job


def test_progress_and_orderly_ends_do_not_count(files: JobFiles) -> None:
    for step in range(1, 6):
        assert begin(files, "7", ["n1"], 2) == ""
        checkpoint = files.run_dir / "checkpoints" / f"step_{step:08}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "COMPLETE").touch()
    for _ in range(MAX_STARTS):
        assert begin(files, "7", ["n1"], 2) == ""
        finish(files, "7", "requeued", "by SIGUSR2")
    assert "the job started 10 times at step 5 without saving a later one" in begin(files, "7", ["n1"], 2)


def test_an_end_belongs_to_its_job(files: JobFiles) -> None:
    begin(files, "7", ["n1"], 2)
    finish(files, "8", "failed", "no")
    assert read_attempts(files)[-1].ended is None
    finish(files, "7", "completed")
    assert read_json(files.restarts)["attempts"][-1]["ended"] == "completed"


def test_newest_step(files: JobFiles) -> None:
    assert files.newest_step() == 0
    folder = files.run_dir / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("step_00000012", "step_00000008", "step_00000099.tmp"):
        (folder / name).mkdir()
        (folder / name / "COMPLETE").touch()
    (folder / "step_00000016").mkdir()  # was not written to its end
    (folder / "best.safetensors").touch()
    assert files.newest_step() == 12


def test_heartbeats(files: JobFiles) -> None:
    assert read_heartbeats(files.heartbeats) == []
    beat(files, 0, 10)
    beat(files, 1, 9, ago=200)
    (files.heartbeats / "rank_00002.json").write_text('{"rank":')
    beats = read_heartbeats(files.heartbeats)
    assert [b.rank for b in beats] == [0, 1]
    assert [b.is_stalled(time.time()) for b in beats] == [False, True]
    assert "rank 0 on n0: training, step 10" in last_signs(beats)
    assert "the longest silent: rank 1 on n1" in last_signs(beats)
    assert [b.rank for b in read_heartbeats(files.heartbeats, since=time.time() - 100)] == [0]
    beat(files, 1, 9, ago=200, state="evaluating")
    assert not read_heartbeats(files.heartbeats)[1].is_stalled(time.time())


def test_lock(files: JobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = {"7"}
    monkeypatch.setattr(job_files, "is_alive", lambda kind, job_id: job_id in alive)
    files.acquire("slurm", "7")
    files.acquire("slurm", "7")  # the same job, started again
    with pytest.raises(JobFileError, match=r"job 7 trains in .*run: job 8 must have another train"):
        files.acquire("slurm", "8")
    files.release("8")
    assert files.lock.exists()
    alive.clear()
    files.acquire("slurm", "8")  # the other has gone without a word
    assert read_json(files.lock)["job_id"] == "8"
    files.release("8")
    assert sorted(path.name for path in files.folder.iterdir()) == []


def test_lock_that_cannot_be_checked(files: JobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(kind: str, job_id: str) -> bool:
        raise SlurmError("squeue is not on PATH")

    files.acquire("slurm", "7")
    monkeypatch.setattr(job_files, "is_alive", unknown)
    with pytest.raises(JobFileError, match=r"whether that has ended \(squeue .*if it has, delete .*lock"):
        files.acquire("slurm", "8")


def test_local_jobs_are_processes(files: JobFiles) -> None:
    assert not job_files.is_alive("local", str(os.getpid()))  # alive, but not a job
    assert not job_files.is_alive("local", "999999999")


def test_damaged_or_missing(files: JobFiles) -> None:
    with pytest.raises(JobFileError, match=r"no job was submitted with .*run as its .*\(.*job.json is missing"):
        files.read_job()
    files.folder.mkdir(parents=True)
    files.job.write_text("{")
    with pytest.raises(JobFileError, match=r"job.json is damaged .*: delete it"):
        files.read_job()
