"""Functions that the launch tests start in other processes."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from pe_dense.engine import distributed as dist
from pe_dense.engine.interrupt import StopSignal
from pe_dense.launch import launch


def write_rank(folder: Path, exit_code: int = 0) -> None:
    ranks = dist.gather_objects(dist.rank())
    assert dist.broadcast_object(dist.rank()) == 0
    assert dist.mean_over_processes([float(dist.rank())]) == [(dist.world_size() - 1) / 2]
    assert dist.max_over_processes([float(dist.rank())]) == [dist.world_size() - 1.0]
    (folder / f"{dist.rank()}.txt").write_text(f"{ranks} local {dist.local_rank()}")
    if exit_code:
        raise SystemExit(exit_code)


def wait_for_ever(folder: Path) -> None:
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)


def fail_at_second_interrupt(folder: Path) -> None:
    """Ctrl-C twice; rank 1 notices only that rank 0 has gone."""
    with StopSignal():
        signal.signal(signal.SIGTERM, lambda number, frame: (folder / f"{dist.rank()}.passed_on").touch())
        (folder / f"{os.getpid()}.pid").touch()
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            if dist.rank() == 0:
                raise
            raise RuntimeError("connection closed by peer") from None


def fail_in_one(folder: Path, kind: str) -> None:
    """Rank 1 fails while the others wait for it in a collective."""
    (folder / f"{os.getpid()}.pid").touch()
    dist.barrier()
    if dist.rank() == 1:
        if kind == "aborted":
            os.abort()
        if kind == "killed":
            os.kill(os.getpid(), 9)
        if kind == "terminated":
            os.kill(os.getpid(), 15)
        if kind == "never ends":
            threading.Thread(target=time.sleep, args=(600,)).start()  # keeps the process alive after its error
        raise ZeroDivisionError("a bug in rank 1")
    if kind != "aborted":  # whose peers may tell of their lost connection first
        dist.barrier()
    time.sleep(60)


if __name__ == "__main__":
    launch(globals()[sys.argv[1]], 1 if "RANK" in os.environ else 2, (Path(sys.argv[2]),), "gloo")
