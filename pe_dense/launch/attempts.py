"""The starts of a job: SLURM starts it again after a pre-emption, a time limit, a lost node. Not for ever."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile

from pe_dense.engine.heartbeat import last_signs, read_heartbeats
from pe_dense.launch.job_files import JobFiles, read_json, write_json

MAX_DEATHS = 3
"""Deaths at the same step after which a job stops."""

MAX_STARTS = 10
"""Starts without one saved step, however they ended, after which a job stops."""


@dataclass
class Attempt:
    """One start of a job.

    Attributes:
        job_id: of the job.
        started: seconds since 1970.
        from_step: of the checkpoint it continued from, 0 without one.
        nodes: their names.
        world_size: number of processes.
        ended: "requeued", "terminated", "failed" or "completed"; "died" when a process hung or was lost, as the others
            noted, or the next start that found no end; None while it runs.
        reason: in words.
        ended_at: seconds since 1970; of "died": unknown, None.
    """

    job_id: str
    started: float
    from_step: int
    nodes: list[str]
    world_size: int
    ended: str | None = None
    reason: str | None = None
    ended_at: float | None = None


def read_attempts(files: JobFiles) -> list[Attempt]:
    """All starts of all jobs of a run directory, oldest first."""
    return [Attempt(**entry) for entry in (read_json(files.restarts) or {"attempts": []})["attempts"]]


def begin(files: JobFiles, job_id: str, nodes: Sequence[str], world_size: int) -> str:
    """Note a start. Called by the main process.

    Returns:
        Why the job must stop instead; empty if it may run.
    """
    attempts = read_attempts(files)
    if attempts and attempts[-1].ended is None:
        attempts[-1].ended = "died"
        attempts[-1].reason = last_signs(read_heartbeats(files.heartbeats, attempts[-1].started))
    step = files.newest_step()
    stop = reason_to_stop(attempts, job_id, step)
    attempts.append(Attempt(job_id, time.time(), step, list(nodes), world_size))
    _write(files, attempts)
    return stop


def finish(files: JobFiles, job_id: str, ended: str, reason: str = "") -> None:
    """Note how the newest start ended, if it is this job's."""
    attempts = read_attempts(files)
    if attempts and attempts[-1].job_id == job_id:
        attempts[-1].ended, attempts[-1].reason, attempts[-1].ended_at = ended, reason or None, time.time()
        _write(files, attempts)


def reason_to_stop(attempts: Sequence[Attempt], job_id: str, step: int) -> str:
    """Why a job must not go on at ``step``; empty if it may."""
    same = list(takewhile(lambda a: (a.job_id, a.from_step) == (job_id, step), reversed(attempts)))
    deaths = [attempt for attempt in same if attempt.ended == "died"]
    if len(deaths) >= MAX_DEATHS:
        told = "; ".join(f"start {n}: {attempt.reason}" for n, attempt in enumerate(reversed(deaths), 1))
        return f"the job died {len(deaths)} times after step {step} without saving a later one, it is given up ({told})"
    if len(same) >= MAX_STARTS:
        return (
            f"the job started {len(same)} times at step {step} without saving a later one, it is given up: its time "
            f"limit may be shorter than it takes to start"
        )
    return ""


def restarts(attempts: Sequence[Attempt], job_id: str) -> int:
    """How often a job was started again."""
    return max(0, sum(attempt.job_id == job_id for attempt in attempts) - 1)


def _write(files: JobFiles, attempts: Sequence[Attempt]) -> None:
    write_json(files.restarts, {
        "restarts": restarts(attempts, attempts[-1].job_id), "attempts": [asdict(attempt) for attempt in attempts],
    })  # fmt: skip
