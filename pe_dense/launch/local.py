"""Several processes on this machine, or this one as a member of a group that torchrun started."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pe_dense.launch.messages import user_message
from pe_dense.launch.rendezvous import group_backend

Backend = Literal["gloo", "nccl"]

_GRACE_SECONDS = 5.0
_SAVE_SECONDS = 60.0
_NOTES = "*.error"
_POLITE = (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGUSR2)
_DEADLY = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL)


class LaunchError(RuntimeError):
    """A process of the group failed; the message is the first one's traceback."""


class ProcessEndedError(LaunchError, ChildProcessError):
    """A process of the group was ended by a signal: there is no traceback to show, see :func:`user_message`."""


def launch(
    fn: Callable[..., Any], num_processes: int = 1, args: Sequence[Any] = (), backend: Backend | None = None
) -> None:
    """Call ``fn(*args)`` in ``num_processes`` processes of one process group.

    Under torchrun (``RANK`` and ``WORLD_SIZE`` are set) this process joins that group instead. With one process and no
    torchrun, ``fn`` is simply called. Ctrl-C, SIGTERM and SIGUSR2 are passed on to the processes, which end by
    themselves.

    Args:
        fn: importable by its name, as the processes are spawned.
        num_processes: on this machine.
        args: picklable arguments of ``fn``.
        backend: "nccl" (one GPU per process) or "gloo" (CPU); None = nccl when there are enough GPUs.

    Raises:
        ValueError: if there are not enough GPUs for "nccl", or torchrun's group has another size.
        SystemExit: with the code of the process that first left with one.
        LaunchError: with the traceback of the first process that failed. All others are ended before. An error that
            this library raised on purpose (see :func:`user_message`) arrives as itself instead.
        ProcessEndedError: (a ``LaunchError``) if a process was ended by a signal.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        size = int(os.environ["WORLD_SIZE"])
        if num_processes not in (1, size):
            raise ValueError(f"torchrun started {size} processes, {num_processes} were asked for: leave the number out")
        _join_group(fn, args, _pick_backend(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), backend))
    elif num_processes == 1:
        fn(*args)
    else:
        _spawn(fn, num_processes, args, _pick_backend(num_processes, backend))


def _pick_backend(processes_here: int, backend: Backend | None) -> Backend:
    gpus = torch.cuda.device_count()
    if backend == "nccl" and gpus < processes_here:
        raise ValueError(
            f"{processes_here} processes need one GPU each but PyTorch finds {gpus} on this machine: "
            f"ask for fewer, or for CPU processes (--num-procs)"
        )
    return backend or ("nccl" if gpus >= processes_here else "gloo")


def _join_group(fn: Callable[..., Any], args: Sequence[Any], backend: Backend) -> None:
    """Run ``fn`` inside the group that the environment describes (torchrun's variables)."""
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(group_backend(gpus=backend == "nccl"))
    try:
        fn(*args)
    except SystemExit:
        dist.destroy_process_group()
        raise
    # after an error the others may be waiting in a collective: leaving the group in order could wait for them for ever
    dist.destroy_process_group()


def free_port() -> int:
    """A TCP port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _spawn(fn: Callable[..., Any], num_processes: int, args: Sequence[Any], backend: Backend) -> None:
    context = mp.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="pe_dense_launch_") as folder:
        shared = (num_processes, free_port(), backend, folder, fn, tuple(args))
        processes = [context.Process(target=_worker, args=(rank, *shared)) for rank in range(num_processes)]
        notes = lambda: any(Path(folder).glob(_NOTES))  # its writer may take long to end, or never do
        with _Forwarding(processes) as forwarding:
            for process in processes:
                process.start()
            while any(p.is_alive() for p in processes) and not (any(p.exitcode for p in processes) or notes()):
                time.sleep(0.05)
                forwarding.repeat_interrupt()
            died = _finish(processes, notes())
        codes = [p.exitcode or 0 for p in processes]
        # before they were ready to leave by themselves, in order, or not even waiting for that
        if forwarding.received and (died is not None or (any(codes) and not notes()) or forwarding.interrupts > 1):
            raise SystemExit(128 + forwarding.received)
        if died is not None:
            rank, reason = died
            oom = ": the machine may have run out of memory, use fewer processes or data workers, or a smaller batch"
            remedy = oom if reason == signal.SIGKILL else ""
            raise ProcessEndedError(f"process {rank} of {num_processes} was ended by {reason.name}{remedy}")
        _raise_first(Path(folder), codes)


def _worker(
    rank: int, size: int, port: int, backend: Backend, folder: str, fn: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    """Body of a spawned process: joins the group, runs, and leaves a note about its first error."""
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
    )  # fmt: skip
    if backend == "gloo":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        _join_group(fn, args, backend)
    except Exception as error:
        _leave_note(Path(folder), rank, error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _leave_with_parent() -> None:
    """A launcher that is killed cannot tell its processes to stop: they would train on for ever, unseen."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # a training saves itself
    time.sleep(_SAVE_SECONDS)
    os._exit(1)


def _leave_note(folder: Path, rank: int, error: Exception) -> None:
    carried = _carry(error) if user_message(error) is not None else b""
    note = pickle.dumps((time.time(), rank, carried, "".join(traceback.format_exception(error))))
    (folder / f"{rank}.tmp").write_bytes(note)
    os.replace(folder / f"{rank}.tmp", folder / f"{rank}.error")


def _carry(error: Exception) -> bytes:
    try:
        carried = pickle.dumps(error)
        pickle.loads(carried)
    except Exception:  # an exception with a constructor of its own cannot always travel
        return b""
    return carried


def _finish(processes: Sequence[BaseProcess], error: bool) -> tuple[int, signal.Signals] | None:
    """After the first has failed (or all are done): give the others time to leave, then end them.

    Args:
        processes: of the group.
        error: one of them has left a note about an error.

    Returns:
        Rank and signal of a process that was ended from outside, or crashed: then errors of others only follow from it.
    """
    failed = error or any(p.exitcode for p in processes)
    # processes that leave by a signal's exit code are all on their way out and may still be writing
    polite = not error and all(p.exitcode in _POLITE for p in processes)
    deadline = time.monotonic() + (_SAVE_SECONDS if polite else 1.0)
    while failed and any(p.is_alive() for p in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    # a process may also abort because of another one that failed or was ended
    deadly = _DEADLY if error else (*_DEADLY, signal.SIGABRT)
    died = [(rank, number) for number in deadly for rank, p in enumerate(processes) if p.exitcode == -number]
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for process in processes:
            if process.is_alive():
                end(process)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()) if end is BaseProcess.terminate else None)
    return died[0] if died else None


def _raise_first(folder: Path, codes: Sequence[int]) -> None:
    notes = [pickle.loads(path.read_bytes()) for path in folder.glob(_NOTES)]
    if notes:
        # an error that this library raised on purpose is the cause, whatever others noticed of it at the same moment
        _, rank, carried, trace = min(notes, key=lambda note: (not note[2], note[0]))
        cause = LaunchError(f"process {rank} of {len(codes)} failed:\n{trace}")
        if carried:
            raise pickle.loads(carried) from cause
        raise cause
    if any(codes):  # of a process that a signal ended: the number a shell has for it
        raise SystemExit(next((code for code in codes if code > 0), 128 - min(codes)))


class _Forwarding:
    """While active, SIGINT, SIGTERM and SIGUSR2 are passed on to the processes instead of ending this one.

    SIGINT is not passed on at once: a terminal's Ctrl-C goes to the processes as well, in any order, and must not look
    like two signals. What :meth:`repeat_interrupt` sends a second later, as SIGTERM, is news only for processes that
    had no Ctrl-C.

    Attributes:
        received: number of the first one, 0 as long as there was none.
        interrupts: how many of them were SIGINT.
    """

    def __init__(self, processes: Sequence[BaseProcess]) -> None:
        self._processes = processes
        self._previous: dict[int, Any] = {}
        self._repeat_at = math.inf
        self.received = 0
        self.interrupts = 0

    def __enter__(self) -> _Forwarding:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def repeat_interrupt(self) -> None:
        """A second after a SIGINT, pass it on; to be called again and again."""
        if time.monotonic() > self._repeat_at:
            self._repeat_at = math.inf
            self._send(signal.SIGTERM)

    def _handle(self, number: int, frame: object) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            self.interrupts += 1
            self._repeat_at = time.monotonic() + 1.0
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        for process in self._processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, number)
