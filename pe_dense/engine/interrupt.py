"""Ctrl-C, SIGTERM and SIGUSR2: end after the current step instead of in the middle of it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType, TracebackType

logger = logging.getLogger(__name__)


class RunInterrupted(SystemExit):
    """The run was asked to end and has saved itself; as an exit code 130 (Ctrl-C), 143 (SIGTERM) or 140 (SIGUSR2)."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(128 + signum)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StopSignal:
    """While active, the first SIGINT, SIGTERM or SIGUSR2 only sets :attr:`received`; a second Ctrl-C interrupts.

    SIGUSR2 is what SLURM sends, by submitit's wish, before it takes the node away.

    Outside the main thread, where Python allows no handlers, it does nothing.

    Attributes:
        received: number of the signal, 0 as long as there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._interrupts = 0
        self._owner = os.getpid()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked data-loader worker: the terminal's Ctrl-C is not for it
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt
        if not self.received:
            self.received = number
            logger.warning("%s received: finishing this step, then saving a checkpoint", signal.Signals(number).name)
