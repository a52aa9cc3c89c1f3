"""What the tests do with a submitted training."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pe_dense.launch.attempts import Attempt, read_attempts
from pe_dense.launch.job_files import JobFiles

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12


@dataclass
class Training:
    """A submitted training."""

    run_dir: Path
    job_id: str

    @property
    def files(self) -> JobFiles:
        return JobFiles(self.run_dir)

    @property
    def attempts(self) -> list[Attempt]:
        return read_attempts(self.files)

    @property
    def log(self) -> str:
        return self.files.read_job().log(errors=True).read_text(errors="replace")

    @property
    def state(self) -> str:
        return slurm("squeue", "-h", "-t", "all", "-j", self.job_id, "-o", "%T")

    def go(self) -> None:
        """End the waiting."""
        (self.run_dir.parent / f"{self.run_dir.name}.go").touch()

    def wait_for_hold(self, after: int = 0) -> int:
        """Until the training waits after a step greater than ``after``; that step."""
        held = self.run_dir.parent / f"{self.run_dir.name}.held"
        step = lambda: int((held.read_text() if held.exists() else "") or 0)
        self.wait(lambda: step() > after, f"a step after {after}")
        return step()

    def lines(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl without what may differ between equal runs: times and memory."""
        path = self.run_dir / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        return [{k: v for k, v in line.items() if "time" not in k and "memory" not in k} for line in lines]

    def wait_for_start(self, number: int) -> None:
        self.wait(lambda: len(self.attempts) >= number, f"start {number}")

    def wait_for_end(self) -> str:
        self.wait(lambda: self.state in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED"), "the job's end")
        return self.state

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 500) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for {what}; state {self.state}, log:\n{self.log[-3000:]}")
            time.sleep(0.2)


def slurm(*command: str) -> str:
    """Output of a command."""
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout.strip()


Start = Callable[..., Training]
