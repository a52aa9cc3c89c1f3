"""How a submitted run is getting on, from its own files and, where it answers, the queue."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pe_dense.engine.heartbeat import Heartbeat, read_heartbeats
from pe_dense.engine.run_log import read_metrics
from pe_dense.launch.attempts import Attempt, read_attempts, restarts
from pe_dense.launch.job_files import JobFiles, JobRecord
from pe_dense.launch.slurm_commands import (
    ENDED,
    QueueEntry,
    SlurmError,
    accounting_entry,
    is_alive,
    queue_entries,
    run_command,
)

_STATES = {
    "completed": "COMPLETED", "failed": "FAILED", "died": "FAILED", "terminated": "CANCELLED", "requeued": "REQUEUED",
}  # fmt: skip
_PRUNED = frozenset({"snapshot", "checkpoints", "inference", "vis", "tensorboard", "logs", "heartbeats", ".git"})


@dataclass(frozen=True)
class RunStatus:
    """State and progress of a run.

    Attributes:
        run_dir: its directory.
        job: its newest job.
        state: SLURM's word where it is known, else one derived from the run's files.
        queue: what SLURM shows, if it answers.
        attempts: starts of the newest job, oldest first.
        beats: the newest signs of life of its processes, by rank.
        step: optimiser steps taken.
        total_steps: of the run; None as long as unknown.
        losses: (step, loss) of the last log lines.
        now: when this was asked, seconds since 1970.
    """

    run_dir: Path
    job: JobRecord
    state: str
    queue: QueueEntry | None
    attempts: list[Attempt]
    beats: list[Heartbeat]
    step: int
    total_steps: int | None
    losses: list[tuple[int, float]]
    now: float

    @property
    def restarts(self) -> int:
        """How often the newest job was started again."""
        return restarts(self.attempts, self.job.job_id)

    @property
    def nodes(self) -> str:
        """Nodes of the job."""
        if self.queue is not None and self.queue.nodes:
            return self.queue.nodes
        return ", ".join(self.attempts[-1].nodes) if self.attempts else ""

    @property
    def eta_seconds(self) -> float | None:
        """Time the rest of the training takes at the present speed (evaluations not counted)."""
        times = [beat.step_time for beat in self.beats if beat.step_time > 0]
        if self.state != "RUNNING" or self.total_steps is None or not times:
            return None
        return (self.total_steps - self.step) * statistics.median(times)

    @property
    def slowest(self) -> Heartbeat | None:
        """The process that is behind, or took longest for its last step."""
        return min(self.beats, key=lambda beat: (beat.step, -beat.step_time), default=None)

    @property
    def stalled(self) -> list[Heartbeat]:
        """Processes of a running job that have been silent for too long."""
        return [beat for beat in self.beats if beat.is_stalled(self.now)] if self.state == "RUNNING" else []


def read_status(run_dir: Path, now: float | None = None) -> RunStatus:
    """Ask about one run.

    Raises:
        JobFileError: if no job was submitted there.
    """
    files = JobFiles(run_dir)
    job = files.read_job()
    attempts = [attempt for attempt in read_attempts(files) if attempt.job_id == job.job_id]
    entry = _queue_entry(job)
    beats = read_heartbeats(files.heartbeats, attempts[-1].started if attempts else job.submitted)
    lines = [line for line in read_metrics(files.run_dir / "metrics.jsonl") if line.get("loss") is not None]
    steps = [beat.step for beat in beats] or [int(line["step"]) for line in lines[-1:]] or [files.newest_step()]
    return RunStatus(
        files.run_dir, job, _state(files, job, entry, attempts), entry, attempts, beats, max(steps),
        beats[0].total_steps if beats else None, [(int(line["step"]), float(line["loss"])) for line in lines[-5:]],
        time.time() if now is None else now,
    )  # fmt: skip


def find_runs(roots: Sequence[Path]) -> Iterator[Path]:
    """Run directories with a job at or below the given folders, in order of their names.

    Raises:
        FileNotFoundError: if one of the folders does not exist.
    """
    for root in roots:
        if not root.is_dir():
            raise FileNotFoundError(f"folder {root} does not exist; give the folder that holds your runs")
        for folder, below, _ in os.walk(root):
            below[:] = sorted(name for name in below if name not in _PRUNED and not name.startswith("step_"))
            if (Path(folder) / "slurm" / "job.json").is_file():
                yield Path(folder)


def cancel(run_dir: Path) -> JobRecord:
    """End the job of a run; it saves itself first, and does not come back.

    Raises:
        JobFileError: if no job was submitted there.
        SlurmError: with SLURM's own words, or if the job has ended already.
    """
    files = JobFiles(run_dir)
    job = files.read_job()
    if not is_alive(job.kind, job.job_id):
        raise SlurmError(f"job {job.job_id} of {run_dir} has ended already")
    files.cancelled.touch()  # with TERM as its pre-emption signal the job would requeue itself
    if job.kind == "local":
        os.kill(int(job.job_id), signal.SIGTERM)
    else:
        run_command("scancel", job.job_id)
    return job


def describe(status: RunStatus) -> str:
    """The report of ``tools/jobs.py status``."""
    job, total = status.job, status.total_steps
    code = f"commit {job.commit[:12]}" if job.commit else "not in git"
    rows = [
        ("run", str(status.run_dir)),
        ("job", f"{job.job_id} ({job.kind}), {job.world_size} processes, submitted {_clock(job.submitted)}"),
        ("state", f"{status.state}{_why(status)}"),
        ("nodes", status.nodes or "-"),
        ("restarts", f"{status.restarts}{_ends(status.attempts)}"),
        ("step", f"{status.step} of {total} ({100 * status.step / total:.1f} %)" if total else str(status.step)),
        ("eta", duration(status.eta_seconds)),
        ("losses", ", ".join(f"{loss:.4g} (step {step})" for step, loss in status.losses) or "-"),
        ("code", f"{code}{', with uncommitted changes' if job.dirty else ''}, in {job.snapshot}"),
        ("log", str(job.log(errors=True))),
    ]
    if status.slowest is not None and len(status.beats) > 1:
        rows.append(("slowest", f"{status.slowest}, {status.slowest.step_time:.3g} s per step"))
    silent = set(range(status.beats[0].world_size)) - {beat.rank for beat in status.beats} if status.beats else set()
    if silent:
        rows.append(("not heard", f"ranks {', '.join(map(str, sorted(silent)))}"))
    rows += [("STALLED", f"{beat}, silent for {duration(status.now - beat.time)}") for beat in status.stalled]
    return "\n".join(f"{name + ':':<11}{value}" for name, value in rows)


def table(statuses: Sequence[RunStatus]) -> str:
    """The report of ``tools/jobs.py list``."""
    rows = [("JOB", "STATE", "STEP", "ETA", "LOSS", "RESTARTS", "NODES", "RUN")]
    for status in statuses:
        step = f"{status.step}/{status.total_steps}" if status.total_steps else str(status.step)
        loss = f"{status.losses[-1][1]:.4g}" if status.losses else "-"
        mark = "!" if status.stalled else ""
        rows.append((
            status.job.job_id, status.state + mark, step, duration(status.eta_seconds), loss, str(status.restarts),
            status.nodes or "-", str(status.run_dir),
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]) for row in rows)


def duration(seconds: float | None) -> str:
    """``2 d 03:04:05``, ``-`` for None."""
    if seconds is None:
        return "-"
    days, rest = divmod(int(seconds), 86400)
    return f"{f'{days} d ' if days else ''}{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def _queue_entry(job: JobRecord) -> QueueEntry | None:
    if job.kind == "local":
        return None
    try:
        entry = queue_entries([job.job_id]).get(job.job_id)
    except SlurmError:
        return None
    return entry or accounting_entry(job.job_id)


def _state(files: JobFiles, job: JobRecord, entry: QueueEntry | None, attempts: Sequence[Attempt]) -> str:
    if entry is not None and not (entry.state in ENDED and attempts and attempts[-1].ended == "completed"):
        return entry.state
    if job.kind == "local" and is_alive(job.kind, job.job_id):
        return "RUNNING"
    if attempts and attempts[-1].ended is not None:
        return _STATES.get(attempts[-1].ended, "UNKNOWN")
    return "ENDED" if job.kind == "local" else "UNKNOWN"


def _why(status: RunStatus) -> str:
    told = []
    if status.queue is not None and status.state == "PENDING" and status.queue.reason:
        told.append(status.queue.reason)
    if status.queue is not None and status.state == "RUNNING" and status.queue.elapsed:
        told.append(f"for {status.queue.elapsed}")
    if status.state in ENDED and status.attempts and status.attempts[-1].reason:
        told.append(status.attempts[-1].reason)
    return f" ({'; '.join(told)})" if told else ""


def _ends(attempts: Sequence[Attempt]) -> str:
    ends = [f"{attempt.ended} {attempt.reason or ''}".strip() for attempt in attempts[:-1]]
    return f" ({'; '.join(ends)})" if ends else ""


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
