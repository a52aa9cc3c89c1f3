"""The throw-away cluster itself."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from cluster import Cluster


def processes_with(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
            environment = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if folder.name != str(os.getpid()) and text in line + environment:
            found.append(f"{folder.name} {line}")
    return found


@pytest.mark.usefixtures("_possible")
def test_nothing_is_left_behind() -> None:
    before = dict(os.environ)
    cluster = Cluster()
    cluster.start()
    try:
        job = ["sbatch", "-N2", "--ntasks-per-node=2", "-t5", "-D", "/", "-o", "/dev/null", "--wrap", "srun sleep 100"]
        subprocess.run(job, check=True, capture_output=True)
        while "R" not in subprocess.run(["squeue", "-h", "-o", "%t"], capture_output=True, text=True).stdout:
            time.sleep(0.1)
        assert processes_with(str(cluster.root))
    finally:
        cluster.stop()
    assert not processes_with(str(cluster.root))
    assert not cluster.root.exists()
    assert str(cluster.root) not in Path("/proc/mounts").read_text()
    assert dict(os.environ) == before
