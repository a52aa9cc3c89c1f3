"""How far a prediction is: a bar on a terminal, else a log line now and then."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pe_dense.engine.run_log import terminal

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 10.0


class ProgressReport:
    """Counts what is done, one job after another; a context manager."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=terminal(), transient=True) if terminal().is_terminal else None
        self._task = TaskID(0)
        self._name, self._unit, self._total = "", "", 0
        self._done, self._started, self._reported = 0, 0.0, 0.0

    def __enter__(self) -> ProgressReport:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, name: str, unit: str, total: int | None) -> None:
        """Begin a job of ``total`` units (None: unknown) that replaces the one before."""
        self._name, self._unit, self._total, self._done = name, unit, total or 0, 0
        self._started = self._reported = time.perf_counter()
        if self._bar is not None:
            for earlier in self._bar.task_ids:
                self._bar.remove_task(earlier)
            self._task = self._bar.add_task(name, total=total)

    def advance(self) -> None:
        """One unit is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
            return
        now = time.perf_counter()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            of = f" of {self._total}" if self._total else ""
            each = (now - self._started) / self._done
            left = max(0, self._total - self._done) * each
            eta = f", {timedelta(seconds=round(left))} left" if self._total else ""
            logger.info("%s: %d%s %s, %.3f s each%s", self._name, self._done, of, self._unit, each, eta)
