"""A hook that keeps a tiny training going until a test has done with it what it wants."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pe_dense.engine import Hook


class Pace(Hook):
    """From a step on, makes every step slow as long as a file does not exist; the last step always waits for it.

    Args:
        hold: the first slow step.
        go: the file.
    """

    def __init__(self, hold: int, go: str) -> None:
        self.hold, self.go = hold, Path(go)

    def after_step(self, trainer: Any) -> None:
        left = trainer.total_steps - trainer.step
        # the steps that are left take a minute and a half, so that signals are still agreed on in between
        end = time.monotonic() + (90 / (trainer.total_steps - self.hold) if left else 600)
        while trainer.step >= self.hold and not self.go.exists() and time.monotonic() < end:
            time.sleep(0.05)
            if trainer.stop.received:
                return
