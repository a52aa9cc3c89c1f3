"""What a process of a job does at its ends; the whole of it is tested on a cluster (``tests/slurm``)."""

import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

from pe_dense.launch.attempts import MAX_DEATHS, MAX_STARTS
from pe_dense.launch.cluster_run import EARLY_ENDS, LOST_PEERS, ClusterRun, is_consequence
from pe_dense.launch.options import JobOptions
from pe_dense.launch.sbatch import sbatch_parameters

Script = Callable[[int], tuple[int, bool]]


def test_a_job_that_is_requeued_runs_the_same_again(tmp_path: Path) -> None:
    run = ClusterRun(tmp_path, JobOptions(nodes=2), tmp_path, True, "best")
    run._store = object()  # what a running process holds does not travel
    again = pickle.loads(pickle.dumps(run.checkpoint().function))
    expected = {**vars(run)}
    del expected["_store"]
    assert vars(again) == expected


@pytest.mark.parametrize(
    ("error", "consequence"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [192.0.2.11]:1234"), True),
        (RuntimeError("[..] Timed out waiting 1800000ms for recv operation to complete"), True),
        (dist.DistBackendError("NCCL communicator was aborted"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("Connection closed by peer"), False),
    ],
)
def test_errors_that_only_follow_from_another(error: Exception, consequence: bool) -> None:
    assert is_consequence(error) is consequence


@pytest.mark.parametrize(
    ("status", "result", "requeued"),
    [
        (0, False, False),  # done
        (1, True, False),  # an error of Python
        (137, False, True),  # killed
        (137, True, False),  # killed because another had an error of Python
        (139, False, True),  # crashed
        (LOST_PEERS, False, True),  # a collective did not end
        (143, False, False),  # cancelled
        (255, False, False),  # has requeued itself
    ],
)
def test_which_jobs_come_back(script: Script, tmp_path: Path, status: int, result: bool, requeued: bool) -> None:
    if result:
        (tmp_path / "logs" / "7_3_result.pkl").touch()
    (tmp_path / "logs" / "77_0_result.pkl").touch()  # of another job
    assert script(status) == (status, requeued)


@pytest.mark.parametrize(("status", "times"), [(139, MAX_DEATHS), (140, MAX_STARTS)])
def test_a_job_that_never_gets_started(script: Script, tmp_path: Path, status: int, times: int) -> None:
    for _ in range(times):
        assert script(status) == (status, True)
    assert script(status) == (status, False)
    (tmp_path / "logs" / f"7_{EARLY_ENDS}").unlink()  # as a start does in which all meet
    assert script(status) == (status, True)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs the end of the job's script after srun's exit status: its own, and whether it asked for a requeue."""
    (tmp_path / "logs").mkdir()
    asked = tmp_path / "asked"
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $* >{asked}\n")
    (tmp_path / "scontrol").chmod(0o755)

    def run(status: int) -> tuple[int, bool]:
        asked.unlink(missing_ok=True)
        lines = [f"(exit {status})", *sbatch_parameters(JobOptions(), tmp_path)["teardown"]]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7"}
        done = subprocess.run(["bash", "-c", "\n".join(lines)], env=environment, capture_output=True, check=False)
        assert not asked.exists() or asked.read_text() == "requeue 7\n"
        return done.returncode, asked.exists()

    return run
