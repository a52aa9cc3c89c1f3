"""Peak memory of a piece of work, measured in a process of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch


def peak_memory(section: str, *arguments: Any) -> tuple[float, float]:
    """What ``report_memory(*arguments)`` of a module of this folder says by :func:`report`, called in a new process.

    Returns:
        MiB that the work takes beside what was there before it, and that its process takes in all.
    """
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    call = ", ".join(repr(a) for a in arguments)
    code = f"from benchmarks.{section} import report_memory; report_memory({call})"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, sys.path)])
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    beside, total = (float(number) for number in answer.split())
    return beside, total


def report(work: Callable[[], object]) -> None:
    """Run it and print what :func:`peak_memory` reads."""
    before = _peak()
    # importing took more for a moment: filled up to that, every further byte shows
    ballast = torch.ones(max(0, int((before - _resident()) * 2**20)), dtype=torch.uint8)
    before = _peak()
    work()
    sys.stdout.write(f"{_peak() - before} {_peak()}\n")
    del ballast


def _resident() -> float:
    """MiB that the process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak() -> float:
    """MiB that the process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
