"""SLURM's own commands, asked without accounting: what they say, and what they complain about."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pe_dense.launch.options import JobOptions

_TIMEOUT = 60
ENDED = frozenset({
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
})  # fmt: skip
"""States of a job that does not come back by itself. "COMPLETING" is not one: it may be on its way to be requeued."""


class SlurmError(ValueError):
    """SLURM is not there, or refused something; the message holds its own words."""


@dataclass(frozen=True)
class QueueEntry:
    """A job as ``squeue`` or ``sacct`` shows it.

    Attributes:
        state: such as "RUNNING".
        nodes: its node list, empty while it waits.
        reason: why it waits.
        elapsed: time it has run, SLURM's notation.
    """

    state: str
    nodes: str = ""
    reason: str = ""
    elapsed: str = ""


def run_command(*command: str) -> str:
    """Output of one of SLURM's commands.

    Raises:
        SlurmError: with the command's own message, or if it is not there.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]} is not on PATH: run this on a machine of the cluster") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {_TIMEOUT} s: the controller may be down") from error
    if done.returncode:
        raise SlurmError(f"{' '.join(command)}: {' '.join(done.stderr.split()) or f'exit status {done.returncode}'}")
    return done.stdout


def queue_entries(job_ids: Sequence[str]) -> dict[str, QueueEntry]:
    """Jobs that the controller still knows, by id; those that ended stay there for some minutes.

    Raises:
        SlurmError: if squeue is not there or the controller does not answer.
    """
    if not job_ids:
        return {}
    mains = sorted({job_id.split("_")[0] for job_id in job_ids})
    try:
        text = run_command("squeue", "-h", "-r", "-t", "all", "-j", ",".join(mains), "-o", "%i|%T|%N|%r|%M")
    except SlurmError as error:
        if "Invalid job id" not in str(error):
            raise
        if len(mains) == 1:
            return {}
        return {key: entry for main in mains for key, entry in queue_entries([main]).items() if key in job_ids}
    found = {}
    for line in text.splitlines():
        job_id, state, nodes, reason, elapsed = line.split("|")
        if job_id in job_ids:
            found[job_id] = QueueEntry(state, nodes, "" if reason == "None" else reason, elapsed)
    return found


def accounting_entry(job_id: str) -> QueueEntry | None:
    """What ``sacct`` knows; None without accounting."""
    if shutil.which("sacct") is None:
        return None
    try:
        text = run_command("sacct", "-X", "-n", "-P", "-j", job_id, "-o", "State,NodeList,Elapsed")
    except SlurmError:
        return None
    lines = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
    return QueueEntry(lines[-1][0].split()[0], lines[-1][1], "", lines[-1][2]) if lines else None


def is_alive(kind: str, job_id: str) -> bool:
    """True while the job waits, runs, or is about to be requeued.

    Args:
        kind: "slurm", or "local" for a job of this machine.
        job_id: SLURM's, or the process id of the local job.

    Raises:
        SlurmError: if SLURM cannot be asked.
    """
    if kind == "local":
        return _process_is_job(int(job_id))
    entry = queue_entries([job_id]).get(job_id)
    return entry is not None and entry.state not in ENDED


def is_losing_its_nodes(job_id: str) -> bool:
    """True in the grace time of a pre-emption: a job that ends by itself then counts as failed, not as pre-empted."""
    try:
        shown = run_command("scontrol", "show", "job", "-o", job_id)
    except SlurmError:  # not there in a container: then only submitit's signal brings a job back
        return False
    return "JobState=RUNNING" in shown and re.search(r"PreemptTime=\d", shown) is not None


def _process_is_job(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the number has been given to another user's process
    line = Path(f"/proc/{pid}/cmdline")
    return b"submitit" in line.read_bytes() if line.exists() else True


@dataclass(frozen=True)
class _NodeGroup:
    """Like nodes of a partition, as ``sinfo`` shows them."""

    partition: str
    count: int
    cpus: int
    memory_mb: int
    gpus: int
    minutes: float
    largest_job: float


def check_fits(options: JobOptions) -> None:
    """Refuse a job that would wait for ever because no node, or not enough of them, can run it.

    Says nothing where ``sinfo`` does not tell.

    Raises:
        SlurmError: naming what the partition has.
    """
    groups = _node_groups(options.partition)
    if not groups:
        return
    name = groups[0].partition
    limit, largest = max(g.minutes for g in groups), max(g.largest_job for g in groups)
    if options.timeout_min > limit:
        raise SlurmError(f"timeout_min is {options.timeout_min} but partition {name} allows {limit:.0f} min: lower it")
    available = min(sum(g.count for g in groups), largest)
    if options.nodes > available:
        raise SlurmError(f"nodes is {options.nodes} but partition {name} allows {available:.0f} at most: ask for fewer")
    needs = {
        "gpus_per_node": (options.gpus_per_node, "gpus"),
        "tasks_per_node x cpus_per_task": (options.tasks * (options.cpus_per_task or 1), "cpus"),
        "mem in MB": (_megabytes(options.mem), "memory_mb"),
    }
    for key, (value, attribute) in needs.items():
        fitting = sum(g.count for g in groups if getattr(g, attribute) >= value)
        if fitting < options.nodes:
            most = max(getattr(g, attribute) for g in groups)
            raise SlurmError(
                f"{key} is {value} but only {fitting} nodes of partition {name} have that (the largest has {most}), "
                f"and the job needs {options.nodes}: ask for less or for another partition"
            )


def _node_groups(partition: str | None) -> list[_NodeGroup]:
    select = ["-p", partition] if partition else []
    try:
        text = run_command("sinfo", "-h", "-e", *select, "-o", "%P|%D|%c|%m|%G|%l|%s")
    except SlurmError:
        return []
    lines = [line.strip().split("|") for line in text.splitlines() if line.count("|") == 6]
    if not partition:
        lines = [line for line in lines if line[0].endswith("*")]  # the default partition
    return [_node_group(*line) for line in lines]


def _node_group(name: str, count: str, cpus: str, memory: str, gres: str, limit: str, size: str) -> _NodeGroup:
    gpus = sum(int(n) for n in re.findall(r"gpu(?::[^:,()]+)?:(\d+)", gres))
    largest = size.rsplit("-", 1)[-1]
    return _NodeGroup(
        name.rstrip("*"), int(count), int(cpus.rstrip("+")), int(memory.rstrip("+")), gpus, _minutes(limit),
        float(largest) if largest.isdigit() else float("inf"),
    )  # fmt: skip


def _minutes(text: str) -> float:
    """``days-hours:minutes:seconds`` and its shorter forms."""
    if not text[:1].isdigit():  # infinite, n/a
        return float("inf")
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60


def _megabytes(mem: str | None) -> int:
    if mem is None:
        return 0
    unit = mem[-1] if mem[-1].isalpha() else "M"
    return int(mem.rstrip("KMGT")) * {"K": 1, "M": 1024, "G": 1024**2, "T": 1024**3}[unit] // 1024


def reason_of(error: Exception) -> str:
    """SLURM's words in an error that submitit raised, without its decoration."""
    text = str(error)
    lines = re.findall(r"^(?:\S*/)?sbatch: (?:error: )?(?:Batch job submission failed: )?(.+)", text, re.MULTILINE)
    return "; ".join(lines) or text.strip()
