"""Signals while training."""

import os
import signal

import pytest

from pe_dense.engine.interrupt import StopSignal


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_first_signal_is_kept(first: signal.Signals) -> None:
    with StopSignal() as stop:
        send(first, signal.SIGTERM, signal.SIGUSR2)
        assert stop.received == first


def test_one_interrupt_after_another_signal_is_no_second_interrupt() -> None:
    """Whoever started this process may have passed a terminal's Ctrl-C on before the terminal's own arrives."""
    with StopSignal() as stop:
        send(signal.SIGTERM, signal.SIGINT)
        assert stop.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_former_handlers_return() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)]
    with StopSignal():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)] == before
