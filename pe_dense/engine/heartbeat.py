"""A file per process that tells others it is alive and what it is doing."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from pe_dense.engine import distributed as dist

_SECONDS = 5.0


class Heartbeat:
    """Writes ``heartbeats/rank_00003.json`` of a run: at every change of state, and while training every 5 seconds.

    Keys: rank, world_size, host, pid, state ("training", "evaluating", "saving", "done", "stopped" or "failed"), step,
    total_steps, time (seconds since 1970) and step_time (seconds).

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
