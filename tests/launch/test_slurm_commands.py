"""What is read from SLURM's commands; here they are scripts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pe_dense.launch.options import JobOptions
from pe_dense.launch.slurm_commands import (
    SlurmError,
    accounting_entry,
    check_fits,
    is_alive,
    is_losing_its_nodes,
    queue_entries,
    reason_of,
    run_command,
)

Command = Callable[[str, str], None]
SINFO = "debug*|2|4|16000|(null)|2:00:00|1-infinite\\ngpu|3|64+|512000|gpu:a100:8(S:0-1)|3-00:00:00|1-2\\n"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(name: str, body: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    return write


def test_queue(command: Command) -> None:
    command(
        "squeue", "printf '7|RUNNING|n[1-2]|None|1:02\\n8_0|PENDING||Resources|0:00\\n8_1|COMPLETED|n1|None|5:00\\n'"
    )
    entries = queue_entries(["7", "8_0", "8_1"])
    assert (entries["7"].state, entries["7"].nodes, entries["7"].elapsed) == ("RUNNING", "n[1-2]", "1:02")
    assert entries["8_0"].reason == "Resources"
    assert [is_alive("slurm", job) for job in ("7", "8_0", "8_1", "9")] == [True, True, False, False]
    assert queue_entries([]) == {}


def test_a_job_that_the_controller_has_forgotten(command: Command) -> None:
    command("squeue", 'case "$*" in *"-j 7 "*) echo "7|RUNNING|n1|None|0:01";; *) '
            'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1;; esac')  # fmt: skip
    assert list(queue_entries(["7", "9"])) == ["7"]
    assert not is_alive("slurm", "9")


def test_no_accounting(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command("sacct", "echo Slurm accounting storage is disabled >&2; exit 1")
    assert accounting_entry("7") is None
    command("sacct", "printf 'REQUEUED|n1|1:00\\nCANCELLED by 0|n2|2:00\\n'")
    entry = accounting_entry("7")
    assert entry is not None
    assert (entry.state, entry.nodes) == ("CANCELLED", "n2")
    monkeypatch.setenv("PATH", "/nowhere")  # no sacct at all
    assert accounting_entry("7") is None


def test_messages(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"squeue .*: slurm_load_jobs error: Unable to contact slurm controller"):
        is_alive("slurm", "7")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SlurmError, match="squeue is not on PATH: run this on a machine of the cluster"):
        run_command("squeue")
    text = "some\nsbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid p"
    assert reason_of(RuntimeError(text)) == "invalid partition specified: x; Invalid p"
    assert reason_of(RuntimeError("plain ")) == "plain"


def test_grace_time(command: Command) -> None:
    for state, preempted, losing in (("RUNNING", "2026-01-01T00:00:00", True), ("RUNNING", "None", False),
                                     ("COMPLETING", "2026-01-01T00:00:00", False)):  # fmt: skip
        command(
            "scontrol", f"echo JobId=7 JobState={state} PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime={preempted}"
        )
        assert is_losing_its_nodes("7") is losing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 2}, ""),
        ({"nodes": 2, "partition": "gpu", "gpus_per_node": 8, "cpus_per_task": 8, "mem": "500G"}, ""),
        ({"nodes": 3}, "nodes is 3 but partition debug allows 2 at most"),
        ({"nodes": 3, "partition": "gpu"}, "nodes is 3 but partition gpu allows 2 at most"),
        ({"timeout_min": 180}, "timeout_min is 180 but partition debug allows 120 min"),
        ({"timeout_min": 4320, "partition": "gpu"}, ""),
        ({"gpus_per_node": 1}, "gpus_per_node is 1 but only 0 nodes of partition debug have that .the largest has 0"),
        ({"mem": "2T", "partition": "gpu"}, "mem in MB is 2097152 but only 0 nodes of partition gpu"),
    ],
)
def test_jobs_that_would_wait_for_ever(command: Command, options: dict[str, object], message: str) -> None:
    command("sinfo", f'printf "{SINFO}"' + ' | { case "$*" in *"-p gpu"*) grep ^gpu;; *) cat;; esac; }')
    job = JobOptions(**{"timeout_min": 60, **options})
    if message:
        with pytest.raises(SlurmError, match=message):
            check_fits(job)
    else:
        check_fits(job)


def test_sinfo_that_does_not_tell(command: Command) -> None:
    check_fits(JobOptions(nodes=1000))
    command("sinfo", "exit 1")
    check_fits(JobOptions(nodes=1000))
