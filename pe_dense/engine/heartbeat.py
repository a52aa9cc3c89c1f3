"""Signs of life that the processes of a run leave in its directory: written by each, read by whoever asks."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pe_dense.engine import distributed as dist

_SECONDS = 5.0
_QUIET_SECONDS = 120.0
_QUIET_STEPS = 10.0
_ENDED = ("done", "stopped", "failed")


@dataclass(frozen=True)
class Heartbeat:
    """The newest sign of life of one process.

    Attributes:
        rank: of the process.
        world_size: of its group.
        host: where it runs.
        state: "training", "evaluating", "saving", "done", "stopped" or "failed".
        step: optimiser steps taken.
        total_steps: of the run.
        time: when it was written, seconds since 1970.
        step_time: seconds of the last step.
        pid: of the process, 0 if it is not known.
    """

    rank: int
    world_size: int
    host: str
    state: str
    step: int
    total_steps: int
    time: float
    step_time: float
    pid: int = 0

    @property
    def is_going_on(self) -> bool:
        """Whether its process runs on this machine, is not this one, and has not said that it is at an end.

        Only Linux tells. A process that started later has got the number of one that is gone.
        """
        if self.state in _ENDED or self.host != socket.gethostname() or self.pid in (0, os.getpid()):
            return False
        started = _start_of_process(self.pid)
        return started is not None and started <= self.time

    def is_stalled(self, now: float) -> bool:
        """Silent for two minutes and ten steps, while it should be stepping."""
        limit = _QUIET_SECONDS + _QUIET_STEPS * self.step_time
        return self.state in ("training", "saving") and now - self.time > limit

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.time))
        return f"rank {self.rank} on {self.host}: {self.state}, step {self.step}, {clock}"


class HeartbeatWriter:
    """Writes ``heartbeats/rank_00003.json`` of a run: at every change of state, and while training every 5 seconds.

    The keys are the attributes of :class:`Heartbeat`, and ``pid``.

    Args:
        output_dir: the run directory.
        total_steps: of the run.
    """

    def __init__(self, output_dir: str | Path, total_steps: int) -> None:
        self.path = Path(output_dir) / "heartbeats" / f"rank_{dist.rank():05d}.json"
        self._state, self._written = "", 0.0
        self._fixed = {
            "rank": dist.rank(),
            "world_size": dist.world_size(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "total_steps": total_steps,
        }

    def __call__(self, state: str, step: int, step_time: float = 0.0) -> None:
        """Tell what this process does now; a file that cannot be written is no reason to stop."""
        now = time.time()
        if state == self._state and now - self._written < _SECONDS:
            return
        self._state, self._written = state, now
        text = json.dumps({**self._fixed, "state": state, "step": step, "time": now, "step_time": step_time})
        temporary = self.path.with_suffix(".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError:
            pass


def read_heartbeats(folder: Path, since: float = 0.0) -> list[Heartbeat]:
    """All heartbeats of a run by rank; those older than ``since`` belong to an earlier attempt and are left out."""
    found = []
    for path in sorted(folder.glob("rank_*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            beat = Heartbeat(
                int(data["rank"]), int(data["world_size"]), str(data["host"]), str(data["state"]), int(data["step"]),
                int(data["total_steps"]), float(data["time"]), float(data.get("step_time") or 0.0),
                int(data.get("pid") or 0),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being replaced at this moment
        if beat.time >= since:
            found.append(beat)
    return found


def _start_of_process(pid: int) -> float | None:
    """Seconds since 1970, ``None`` if it does not run, or where there is no ``/proc``."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return None
    age = uptime - int(numbers[18]) / os.sysconf("SC_CLK_TCK")
    return None if state in "ZX" else time.time() - age


def last_signs(beats: Sequence[Heartbeat]) -> str:
    """The two processes that were heard last and first: the one that died or hung is usually the first."""
    if not beats:
        return "its processes left no sign of life"
    quiet, loud = min(beats, key=lambda b: b.time), max(beats, key=lambda b: b.time)
    return f"last sign of life: {loud}" + (f"; the longest silent: {quiet}" if quiet is not loud else "")
