"""Memory of one call, measured in a process of its own."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import torch


def peak_memory(module: str, *arguments: object) -> tuple[float, float]:
    """MiB that a call takes beside what was there before, and that its process takes in all.

    Args:
        module: of this package; its ``report_memory(*arguments)`` prepares and ends with :func:`report`.
    """
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = f"from benchmarks.{module} import report_memory; report_memory(*{arguments!r})"
    paths = [folder, *filter(None, sys.path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    beside, total = (float(number) for number in answer.split())
    return beside, total


def report(call: Callable[[], object]) -> None:
    """Print what :func:`peak_memory` reads."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)  # or the call is given, unseen, what was freed before
    before = _peak()
    # importing took more for a moment: filled up to that, every further byte shows
    ballast = torch.ones(max(0, int((before - _resident()) * 2**20)), dtype=torch.uint8)
    before = _peak()
    call()
    sys.stdout.write(f"{_peak() - before} {_peak()}\n")
    del ballast


def _resident() -> float:
    """MiB that the process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak() -> float:
    """MiB that the process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
