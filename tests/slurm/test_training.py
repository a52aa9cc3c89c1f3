"""Trainings on a real two-node cluster: from submission to results, through everything that ends a job early."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from cluster import Cluster
from trainings import ROOT, STEPS, Start, Training, slurm

import pe_dense
from pe_dense.engine.heartbeat import read_heartbeats
from pe_dense.engine.sharded import MARKER, list_checkpoints, step_of
from pe_dense.launch.attempts import MAX_DEATHS
from pe_dense.launch.job_files import JobFileError, JobFiles
from pe_dense.launch.options import JobOptions
from pe_dense.launch.run_log_tail import tail
from pe_dense.launch.run_status import cancel, describe, find_runs, read_status
from pe_dense.launch.slurm import Request, make_plan, submit
from pe_dense.launch.slurm_commands import SlurmError


def tool(name: str, *arguments: str) -> str:
    """Output of one of the command-line tools."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, overrides: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Two nodes with two processes each, through the command line, from the start to the end."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    text = tool(
        "submit", "--config-file", str(ROOT / "configs/demo/mask_rcnn_scenes.py"), "--nodes", "2", "--tasks-per-node",
        "2", "--cpus-per-task", "1", "--timeout-min", "60", *overrides, f"train.output_dir={run_dir}",
    )  # fmt: skip
    training = Training(run_dir, text.split()[1].rstrip(":"))
    assert training.wait_for_end() == "COMPLETED", training.log
    return training


def test_end_to_end(undisturbed: Training) -> None:
    evaluations = [line for line in undisturbed.lines() if "loss" not in line]
    assert [line["step"] for line in evaluations] == [STEPS]
    assert "bbox/AP" in evaluations[0]
    assert len(undisturbed.attempts) == 1
    assert undisturbed.attempts[0].ended == "completed"

    job = undisturbed.files.read_job()
    assert (Path(job.snapshot) / "pe_dense" / "launch" / "slurm.py").is_file()
    assert undisturbed.files.config.is_file()
    assert not undisturbed.files.lock.exists()
    assert [beat.host for beat in read_heartbeats(undisturbed.files.heartbeats)] == ["n1", "n1", "n2", "n2"]

    status = tool("jobs", "status", str(undisturbed.run_dir))  # without accounting: sacct refuses
    assert "COMPLETED" in status
    assert f"{STEPS} of {STEPS}" in status
    assert list(find_runs([undisturbed.run_dir.parent])) == [undisturbed.run_dir]
    assert any(f"step {STEPS}/{STEPS}" in line for line in tail(undisturbed.run_dir, lines=1000))


def test_signal_requeues_and_continues_bit_for_bit(undisturbed: Training, start: Start) -> None:
    assert "JobRequeue              = 0" in slurm("scontrol", "show", "config")  # the job asks for it itself
    training = start(tasks_per_node=2, cpus_per_task=1)
    held = training.wait_for_hold()
    stale = Path(training.files.read_job().logs) / f"{training.job_id}_1_result.pkl"
    stale.write_bytes(b"of an earlier start")
    slurm("scancel", "--signal", "USR2", training.job_id)
    training.wait_for_start(2)
    training.go()
    assert training.wait_for_end() == "COMPLETED", training.log
    assert pickle.loads(stale.read_bytes())[0] == "success"
    first, second = training.attempts
    assert (first.ended, first.reason, second.ended) == ("requeued", "by SIGUSR2", "completed")
    assert second.from_step == held + 1  # not the periodic checkpoint of step 4
    assert training.lines() == undisturbed.lines()
    assert read_status(training.run_dir).restarts == 1


def test_time_limit_and_an_unfinished_checkpoint(start: Start) -> None:
    training = start(nodes=1, tasks_per_node=2, timeout_min=3, signal_delay_s=25)  # SLURM signals up to a minute early
    training.wait(lambda: training.attempts[:1] != [] and training.attempts[0].ended is not None, "the time limit")
    newest = list_checkpoints(training.run_dir / "checkpoints")[-1]
    assert step_of(newest) > 4
    (newest / MARKER).unlink()
    training.wait_for_start(2)
    assert training.attempts[1].from_step == 4  # the one before
    training.go()
    assert training.wait_for_end() == "COMPLETED", training.log
    assert training.attempts[0].ended == "requeued"
    assert f"{newest} has no {MARKER} marker" in training.log
    assert f"resuming at step 4 of {STEPS}" in training.log
    steps = [line["step"] for line in training.lines() if "loss" in line]
    assert steps == list(range(1, STEPS + 1))


def test_preemption_by_sigterm_and_requeue_by_an_administrator(start: Start, cluster: Cluster) -> None:
    training = start()
    held = training.wait_for_hold()
    slurm("scontrol", "update", "PartitionName=debug", "GraceTime=60")
    urgent = slurm(
        "sbatch", "--parsable", "-p", "urgent", "-N2", "--exclusive", "-t1", "-D", "/", "-o", "/dev/null", "--wrap",
        "sleep 60",
    )  # fmt: skip
    training.wait(lambda: training.state == "PENDING", "the pre-emption")
    slurm("scancel", urgent)
    training.wait_for_start(2)
    assert training.attempts[0].ended == "requeued"
    assert training.attempts[1].from_step == held + 1  # more than the periodic checkpoint

    held = training.wait_for_hold(held + 1)
    slurm("scontrol", "requeue", training.job_id)
    training.wait_for_start(3)
    assert (training.attempts[1].ended, training.attempts[1].reason) == ("terminated", "by SIGTERM")
    assert training.attempts[2].from_step == held + 1
    training.go()
    assert training.wait_for_end() == "COMPLETED", training.log
    assert [line["step"] for line in training.lines() if "loss" in line] == list(range(1, STEPS + 1))


def process_of(job_id: str, rank: int) -> int:
    """Number, seen from outside the cluster, of a process of a job: the oldest, its data-loader workers are younger."""
    wanted = {f"SLURM_JOB_ID={job_id}".encode(), f"SLURM_PROCID={rank}".encode(), b"SLURM_STEP_ID=0"}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append((int((folder / "stat").read_text().rsplit(")", 1)[1].split()[19]), int(folder.name)))
        except OSError:
            continue
    return min(found)[1]


def test_killed_process(start: Start) -> None:
    training = start()
    training.wait_for_hold()
    os.kill(process_of(training.job_id, 1), 9)
    training.wait_for_start(2)
    assert training.attempts[0].ended == "died"
    assert "last sign of life: rank" in (training.attempts[0].reason or "")
    assert training.attempts[1].from_step == 4  # the periodic checkpoint
    training.go()
    assert training.wait_for_end() == "COMPLETED", training.log
    assert [line["step"] for line in training.lines() if "loss" in line] == list(range(1, STEPS + 1))


def test_process_that_hangs(start: Start) -> None:
    training = start(tasks_per_node=2, cpus_per_task=1, collective_timeout_s=20, network_interface="eth0")
    held = training.wait_for_hold()
    os.kill(process_of(training.job_id, 2), signal.SIGSTOP)
    training.go()
    training.wait_for_start(2)
    assert f"rank 0 of 4 on n1 failed after step {held}: " in training.log
    silent = f"the longest silent: rank 2 on n2: training, step {held}, "
    assert silent in training.log
    assert training.attempts[0].ended == "died"
    assert silent in (training.attempts[0].reason or "")
    assert silent in tool("jobs", "status", str(training.run_dir))


def test_nodes_with_different_software(start: Start, tmp_path: Path) -> None:
    other = tmp_path / "other"  # in front of everything else on n2
    other.mkdir()
    version = "import torch\ntorch.__version__ = torch.torch_version.TorchVersion('1.2.3')\n"
    (other / "sitecustomize.py").write_text(version)
    python = tmp_path / "python.sh"
    python.write_text(f'[ "$(hostname)" = n2 ] && export PYTHONPATH={other}:$PYTHONPATH\nexec {sys.executable} "$@"\n')
    training = start(python=f"bash {python}")
    assert training.wait_for_end() == "FAILED"
    snapshot = training.files.read_job().snapshot  # which is what runs
    ours, theirs = (
        f"pe_dense {pe_dense.__version__}, torch {v} (code in {snapshot})" for v in (torch.__version__, "1.2.3")
    )
    message = f"the nodes do not run the same software: n1: {ours}; n2: {theirs}"
    for rank in range(2):
        assert message in training.files.read_job().log(rank, errors=True).read_text()
    assert training.attempts == []


def test_interface_that_the_nodes_do_not_have(start: Start) -> None:
    training = start(network_interface="ib9")
    assert training.wait_for_end() == "FAILED"
    logs = [training.files.read_job().log(rank, errors=True).read_text() for rank in range(2)]
    assert any(
        re.search(r"n[12] has no network interface 'ib9' \(it has .*eth0.*set network_interface", t) for t in logs
    )


def test_crash_before_the_processes_meet(start: Start, tmp_path: Path) -> None:
    python = tmp_path / "python.sh"
    python.write_text("kill -SEGV $$\n")
    training = start(nodes=1, python=f"bash {python}")
    assert training.wait_for_end() == "FAILED"
    assert training.log.count("the job is requeued") == MAX_DEATHS
    assert "before its processes have met: it is given up" in training.log


def test_code_that_is_gone_when_the_job_starts(start: Start) -> None:
    training = start(sbatch={"hold": True})
    snapshot = training.files.read_job().snapshot
    shutil.rmtree(snapshot)
    slurm("scontrol", "release", training.job_id)
    assert training.wait_for_end() == "FAILED"
    assert f"error: the code of this job, {snapshot}, cannot be read on n1: submit again" in training.log


def test_one_run_directory_one_job_and_cancel(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start()
    training.wait_for_hold()
    with pytest.raises(JobFileError, match=rf"job {training.job_id} already has the run directory"):
        start()
    status = read_status(training.run_dir)
    assert (status.state, status.nodes) == ("RUNNING", "n[1-2]")
    assert "n[1-2]" in describe(status)

    # submitted at the same moment, so that neither saw the other: the second finds out when it starts
    record = training.files.read_job()
    with monkeypatch.context() as patch:
        patch.setattr(JobFiles, "check_free", lambda self: None)
        second = start(nodes=1)
    second.wait(lambda: second.state == "FAILED", "the second job's end")
    assert f"job {training.job_id} trains in the run directory" in second.log
    training.files.write_job(record)
    assert training.state == "RUNNING"

    cancel(training.run_dir)
    assert training.wait_for_end() == "CANCELLED"
    training.wait(lambda: training.attempts[-1].ended == "terminated", "the job's last words")
    assert training.files.newest_step() > 4  # saved on its way out
    assert len(training.attempts) == 1
    with pytest.raises(SlurmError, match="has ended already"):
        cancel(training.run_dir)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": "nosuch"}, "sbatch refused the job: .*invalid partition specified: nosuch"),
        ({"nodelist": "n1,n9"}, "sbatch refused the job: .*[Ii]nvalid node name specified"),
        ({"nodes": 3}, "nodes is 3 but partition debug allows 2 at most"),
        ({"gpus_per_node": 1}, "gpus_per_node is 1 but only 0 nodes of partition debug have that"),
        ({"tasks_per_node": 2, "cpus_per_task": 3}, "tasks_per_node x cpus_per_task is 6 but only 0 nodes"),
        ({"mem": "20G"}, "mem in MB is 20480 but only 0 nodes .*the largest has 16000"),
        ({"timeout_min": 121}, "timeout_min is 121 but partition debug allows 120 min"),
        ({"dependency": "whenever:1"}, "sbatch refused the job: .*[Dd]ependency"),
        ({"sbatch": {"nonsense": "x"}}, "sbatch refused the job: unrecognized option '--nonsense=x'"),
    ],
)  # fmt: skip
def test_refused(
    cluster: Cluster, overrides: Sequence[str], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    request = Request(
        str(ROOT / "configs/demo/mask_rcnn_scenes.py"), [*overrides, f"train.output_dir={tmp_path / 'run'}"],
        JobOptions(**{"timeout_min": 60, "nodes": 2, **options}),
    )  # fmt: skip
    with pytest.raises(SlurmError, match=message):
        submit(make_plan(request))
    assert not (tmp_path / "run" / "slurm").exists()


def test_array(start: Start, cluster: Cluster, overrides: Sequence[str], tmp_path: Path) -> None:
    request = Request(
        str(ROOT / "configs/demo/mask_rcnn_scenes.py"),
        [*overrides, f"train.output_dir={tmp_path / 'sweep'}", "train.steps=1"],
        JobOptions(timeout_min=60), array=["train.seed=3,4"],
    )  # fmt: skip
    jobs = submit(make_plan(request))
    runs = [Training(tmp_path / "sweep" / f"seed_{seed}", job.job_id) for seed, job in zip((3, 4), jobs)]
    for run in runs:
        run.wait(lambda run=run: any("bbox/AP" in line for line in run.lines()), "the results")
        run.wait(lambda run=run: read_status(run.run_dir).state == "COMPLETED", "the end")
    assert runs[0].lines()[0]["loss"] != runs[1].lines()[0]["loss"]
