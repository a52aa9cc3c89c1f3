"""From a job's options to the file that sbatch gets."""

from __future__ import annotations

import io
import shlex
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import submitit

from pe_dense.launch.attempts import MAX_DEATHS, MAX_STARTS
from pe_dense.launch.cluster_run import EARLY_ENDS, LOST_PEERS
from pe_dense.launch.options import JobOptions

ENDLESS = 10**6
"""Time limits after which submitit would not requeue; a job that gets nowhere stops by itself (``attempts``)."""


class _Executor(submitit.SlurmExecutor):
    """Can also be made where there is no SLURM, to show the sbatch file."""

    @classmethod
    def affinity(cls) -> int:
        return 2

    def _submit_command(self, command: str) -> submitit.Job[Any]:
        with redirect_stderr(io.StringIO()):  # submitit prints what sbatch complains about, and raises it as well
            return super()._submit_command(command)


def make_executor(options: JobOptions, folder: Path) -> submitit.SlurmExecutor:
    """submitit's executor for jobs whose code is in ``folder/snapshot`` and whose logs go to ``folder/logs``."""
    executor = _Executor(folder / "logs", max_num_timeout=ENDLESS, python=options.python)
    executor.update_parameters(**sbatch_parameters(options, folder))
    return executor


def sbatch_parameters(options: JobOptions, folder: Path) -> dict[str, Any]:
    """Parameters of submitit's SLURM executor.

    Args:
        options: of the job.
        folder: holds ``snapshot/`` and ``logs/``.
    """
    own = ("partition", "account", "qos", "constraint", "nodelist", "exclude", "dependency", "comment", "mem",
           "cpus_per_task", "job_name", "array_parallelism", "nodes", "signal_delay_s")  # fmt: skip
    parameters = {key: getattr(options, key) for key in own if getattr(options, key) is not None}
    more: dict[str, Any] = {"requeue": True, "signal": f"{options.preempt_signal}@{options.signal_delay_s}"}
    if options.reservation is not None:
        more["reservation"] = options.reservation
    # srun: a process that fails ends the others, who would wait for it; since 22.05 it does not know sbatch's cores
    srun = ["--kill-on-bad-exit=1"]
    if options.cpus_per_task is not None:
        srun.append(f"--cpus-per-task={options.cpus_per_task}")
    if options.gpus_per_node:
        parameters["gpus_per_node"] = options.gpus_per_node
    return {
        **parameters, "time": options.timeout_min, "wckey": None, "ntasks_per_node": options.tasks,
        "srun_args": [*srun, *options.srun_args], "additional_parameters": {**more, **options.sbatch},
        "setup": [*options.setup, *_environment_lines(options, folder / "snapshot")],
        "teardown": _requeue_lines(folder / "logs"),
    }  # fmt: skip


def job_environment(options: JobOptions) -> dict[str, str]:
    """Environment variables of the job."""
    own = {key: str(value) for key, value in options.env.items()}
    return {**own, "SUBMITIT_PREEMPT_SIGNAL": options.preempt_signal}


def _environment_lines(options: JobOptions, snapshot: Path) -> list[str]:
    path = shlex.quote(str(snapshot))
    lines = [f"export {key}={shlex.quote(value)}" for key, value in job_environment(options).items()]
    return [
        *lines,
        f'export PYTHONPATH={path}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        # python -m finds modules in the working directory first: it must be the snapshot, not a changed checkout
        f"cd {path} || {{",
        f'    echo "error: the code of this job, {snapshot}, cannot be read on $(hostname): submit again" >&2',
        "    exit 1",
        "}",
    ]


def _requeue_lines(logs: Path) -> list[str]:
    """After srun: a job of which a process was killed or crashed comes back; one with an error of Python does not, nor
    one that never gets as far as counting its starts itself.
    """
    job = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    files = f"{shlex.quote(str(logs))}/{job}"
    return [
        "status=$?",
        "case $status in",
        f"  {LOST_PEERS}|13[4-9]|140)",
        f"    if ! ls {files}_*_result.pkl >/dev/null 2>&1; then",
        f"      early={files}_{EARLY_ENDS}",
        '      echo $status >>"$early"',
        # 140: by the signal of a pre-emption or time limit, which came too early
        f'      if [ $(grep -vc 140 "$early") -gt {MAX_DEATHS} ] || [ $(wc -l <"$early") -gt {MAX_STARTS} ]; then',
        '        echo "error: the job ends again and again (exit status $status) before its processes have met:'
        ' it is given up" >&2',
        "      else",
        '        echo "a process was ended (exit status $status): the job is requeued" >&2',
        "        scontrol requeue $SLURM_JOB_ID",
        "      fi",
        "    fi;;",
        "esac",
        "exit $status",
    ]
