"""The end of a job's log, and what comes after it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pe_dense.launch.job_files import JobFileError, JobFiles

_POLL_SECONDS = 0.5


def tail(run_dir: Path, rank: int = 0, lines: int = 30, follow: bool = False) -> Iterator[str]:
    """The last lines that a process of the newest job wrote to stderr, where the log lines are.

    Args:
        run_dir: the run directory.
        rank: of the process.
        lines: how many.
        follow: go on with what comes later, without end.

    Raises:
        JobFileError: if there is no job, or no log of this process yet.
    """
    job = JobFiles(run_dir).read_job()
    path = job.log(rank, errors=True)
    if rank >= job.world_size:
        raise JobFileError(f"job {job.job_id} has no rank {rank}: it has {job.world_size} processes")
    if not path.is_file():
        raise JobFileError(f"rank {rank} of job {job.job_id} has not started yet ({path} does not exist)")
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from deque(file, maxlen=lines)
        while follow:
            text = file.read()
            if text:
                yield text
            else:
                time.sleep(_POLL_SECONDS)
