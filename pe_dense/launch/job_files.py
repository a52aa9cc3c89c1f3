"""What a job keeps in its run directory, below ``slurm/``."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pe_dense.engine.sharded import MARKER, list_checkpoints, step_of
from pe_dense.launch.slurm_commands import SlurmError, is_alive


class JobFileError(ValueError):
    """A run directory holds no job, another one is at work in it, or a file of a job is damaged."""


@dataclass(frozen=True)
class JobRecord:
    """``job.json``: the newest job of a run directory.

    Attributes:
        kind: "slurm", or "local" for processes of this machine.
        job_id: SLURM's id (``1234`` or ``1234_5``), or the process id of a local job.
        submitted: seconds since 1970.
        command: the command line that submitted it.
        working_dir: where it was submitted; relative paths of the config are relative to it.
        commit: git commit of the code, None without git.
        dirty: the code differs from the commit.
        snapshot: folder of the code.
        logs: folder of the job's output.
        world_size: number of processes.
        cluster: name of the cluster, if one was given.
        options: the job's options.
        earlier: ids of the jobs before it.
    """

    kind: str
    job_id: str
    submitted: float
    command: list[str]
    working_dir: str
    commit: str | None
    dirty: bool
    snapshot: str
    logs: str
    world_size: int
    cluster: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)

    def log(self, rank: int = 0, errors: bool = False) -> Path:
        """File of what a process printed (``errors``: on stderr, where the log lines are)."""
        return Path(self.logs) / f"{self.job_id}_{rank}_log.{'err' if errors else 'out'}"


class JobFiles:
    """Places below a run directory.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self.folder = self.run_dir / "slurm"
        self.job = self.folder / "job.json"
        self.config = self.folder / "config.yaml"
        self.restarts = self.folder / "restarts.json"
        self.lock = self.folder / "lock.json"
        self.cancelled = self.folder / "cancelled"
        self.heartbeats = self.run_dir / "heartbeats"

    def read_job(self) -> JobRecord:
        """The newest job.

        Raises:
            JobFileError: if there is none.
        """
        record = self.find_job()
        if record is None:
            raise JobFileError(f"no job was submitted with {self.run_dir} as its run directory ({self.job} is missing)")
        return record

    def find_job(self) -> JobRecord | None:
        """The newest job, if there is one."""
        data = read_json(self.job)
        return None if data is None else JobRecord(**data)

    def write_job(self, record: JobRecord) -> None:
        """Replace ``job.json``."""
        write_json(self.job, asdict(record))

    def newest_step(self) -> int:
        """Step of the newest checkpoint that was written to its end, 0 without one."""
        finished = [path for path in list_checkpoints(self.run_dir / "checkpoints") if (path / MARKER).is_file()]
        return step_of(finished[-1]) if finished else 0

    def check_free(self) -> None:
        """No job that waits or runs may have this run directory.

        Raises:
            JobFileError: naming the job.
        """
        record = self.find_job()
        if record is not None and is_alive(record.kind, record.job_id):
            raise JobFileError(
                f"job {record.job_id} already has the run directory {self.run_dir}: wait for its end, cancel it with "
                f"tools/jobs.py cancel {self.run_dir}, or choose another train.output_dir"
            )

    def acquire(self, kind: str, job_id: str) -> None:
        """Take the run directory for a job that starts; the lock of a job that is gone, or of itself, is taken over.

        Raises:
            JobFileError: if another job has it, or it cannot be found out.
        """
        mine = self.lock.with_name(f"lock_{job_id}.tmp")
        write_json(mine, {"kind": kind, "job_id": job_id, "time": time.time()})
        try:
            for _ in range(2):
                try:
                    os.link(mine, self.lock)  # appears with its content, and only if there is none
                    return
                except FileExistsError:
                    self._displace(kind, job_id)
        finally:
            mine.unlink(missing_ok=True)
        raise JobFileError(f"another job has just taken the run directory {self.run_dir}")

    def release(self, job_id: str) -> None:
        """Give the run directory back, if this job has it."""
        owner = read_json(self.lock)
        if owner is not None and owner["job_id"] == job_id:
            self.lock.unlink(missing_ok=True)

    def _displace(self, kind: str, job_id: str) -> None:
        owner = read_json(self.lock)
        if owner is not None and (owner["kind"], owner["job_id"]) != (kind, job_id):
            try:
                alive = is_alive(owner["kind"], owner["job_id"])
            except SlurmError as error:
                raise JobFileError(
                    f"the run directory {self.run_dir} belongs to job {owner['job_id']} and it cannot be found out "
                    f"whether that has ended ({error}): if it has, delete {self.lock}"
                ) from error
            if alive:
                raise JobFileError(
                    f"job {owner['job_id']} trains in the run directory {self.run_dir}: job {job_id} must have "
                    f"another train.output_dir"
                )
        self.lock.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Content of a json file, None if there is no such file.

    Raises:
        JobFileError: if it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JobFileError(f"{path} is damaged ({error}): delete it") from error


def write_json(path: Path, data: Any) -> None:
    """Replace a json file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
