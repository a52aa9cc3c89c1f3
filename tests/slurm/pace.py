"""A hook that keeps a tiny training waiting until a test has done with it what it wants."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pe_dense.engine import Hook

SECONDS = 240


class Pace(Hook):
    """From a step on, waits after every step until a file exists, or until a signal comes; that is for the next step.

    Args:
        hold: the first step that waits.
        go: the file. Beside it, ``.held`` holds the number of the step that waits.
    """

    def __init__(self, hold: int, go: str) -> None:
        self.hold, self.go = hold, Path(go)

    def after_step(self, trainer: Any) -> None:
        if trainer.step < self.hold or self.go.exists():
            return
        self.go.with_suffix(".held").write_text(str(trainer.step))
        end = time.monotonic() + SECONDS
        while not (self.go.exists() or trainer.stop.received) and time.monotonic() < end:
            time.sleep(0.05)
