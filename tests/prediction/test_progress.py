"""Progress of a prediction."""

import io
import logging
import time

import pytest
from rich.console import Console

from pe_dense.prediction import progress
from pe_dense.prediction.progress import ProgressReport


def test_log_lines_tell_how_long_it_takes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    with ProgressReport() as report:
        report.start("clip.mp4", "frames", 5)
        report.advance()
        report.start("stream", "frames", None)
        report.advance()
    assert caplog.messages == [
        "clip.mp4: 1 of 5 frames, 30.000 s each, 0:02:00 left",
        "stream: 1 frames, 30.000 s each",
    ]


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, _environ={})
    monkeypatch.setattr(progress, "terminal", lambda: console)
    with ProgressReport() as report:
        report.start("clip.mp4", "frames", 5)
        for _ in range(4):
            report.advance()
    assert "clip.mp4" in screen.getvalue()
    assert "4/5" in screen.getvalue()
    assert ":" in screen.getvalue().rsplit("4/5", 1)[1]  # the time that is left
