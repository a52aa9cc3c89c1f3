"""What a run tells: console, ``log.txt``, ``metrics.jsonl`` and TensorBoard."""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.logging import RichHandler

_ROOT = "pe_dense"
_MARK = "_pe_dense_run"


class _Early(logging.Handler):
    """Keeps the newest of what is logged before there is a folder for it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def setup_logging(output_dir: str | Path | None = None, main: bool = True) -> None:
    """Send the library's log to the console and, in the main process, to ``output_dir/log.txt`` (appended).

    Calling it again replaces the handlers of the call before. What was logged after a call without ``output_dir`` is
    the beginning of the ``log.txt`` of the next call. Processes other than the main one show warnings only.
    """
    root = logging.getLogger(_ROOT)
    early = [record for handler in root.handlers if isinstance(handler, _Early) for record in handler.records]
    for handler in [h for h in root.handlers if getattr(h, _MARK, False)]:
        root.removeHandler(handler)
        handler.close()
    plain = logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S")
    handlers: list[logging.Handler] = []
    if terminal().is_terminal:
        handlers.append(RichHandler(console=terminal(), show_path=False, log_time_format="%H:%M:%S"))
    else:
        handlers.append(logging.StreamHandler())
        handlers[0].setFormatter(plain)
    if not main:
        handlers[0].setLevel(logging.WARNING)
    elif output_dir is None:
        handlers.append(_Early())
    else:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(Path(output_dir) / "log.txt", encoding="utf-8"))
        handlers[-1].setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
        )
        for record in early:
            handlers[-1].handle(record)
    for handler in handlers:
        setattr(handler, _MARK, True)
        root.addHandler(handler)
    root.setLevel(logging.INFO)


_console: Console | None = None


def terminal() -> Console:
    """The one console that log lines and progress bars share, so that they do not overwrite each other."""
    global _console
    if _console is None:
        _console = Console(stderr=True)
    return _console


class RunWriter:
    """Numbers of a run over its steps: ``metrics.jsonl`` (one json object a line) and TensorBoard (``tensorboard/``).

    Training lines hold the loss terms, lr and times; evaluation lines hold the evaluator's results and no ``loss``.

    Args:
        output_dir: the run directory.
        resume_step: lines of later steps are dropped (they will be written again); None starts an empty file.
    """

    def __init__(self, output_dir: str | Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second of imports for the one process that writes

        self.path = Path(output_dir) / "metrics.jsonl"
        purge = None if resume_step is None else resume_step + 1
        self._tensorboard = SummaryWriter(str(Path(output_dir) / "tensorboard"), purge_step=purge)
        kept = [r for r in read_metrics(self.path) if resume_step is not None and r["step"] <= resume_step]
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")
        os.replace(temporary, self.path)

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Append one line and the curves' points; numbers that json does not know (NaN, infinity) become null."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "epoch": round(epoch, 6), **json_numbers(values)}) + "\n")
        for name, value in values.items():
            tag = name if "/" in name else f"train/{name}"
            self._tensorboard.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flush TensorBoard's file."""
        self._tensorboard.close()

    def evaluations(self) -> dict[int, dict[str, float]]:
        """Evaluation results so far, by step."""
        lines = [r for r in read_metrics(self.path) if "loss" not in r]
        return {r["step"]: {k: _number(v) for k, v in r.items() if k not in ("step", "epoch")} for r in lines}


def json_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers that json does not know (NaN, infinity) as None."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Lines of a ``metrics.jsonl``; a last line cut off by a killed process is left out."""
    rows = []
    if Path(path).exists():
        for text in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(text))
            except json.JSONDecodeError:
                continue
    return rows


def memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
