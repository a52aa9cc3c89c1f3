"""Submits training and evaluation to SLURM, or runs them the same way on this machine."""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import submitit
from omegaconf import DictConfig
from submitit.core.utils import FailedJobError, FailedSubmissionError

from pe_dense.config import freeze_constants, load_config, save_config
from pe_dense.engine.resume import check_same_config
from pe_dense.engine.run_directory import check_writable
from pe_dense.engine.sharded import step_path
from pe_dense.launch.cluster_run import ClusterRun
from pe_dense.launch.job_files import JobFiles, JobRecord
from pe_dense.launch.messages import user_message
from pe_dense.launch.options import JobOptions
from pe_dense.launch.sbatch import ENDLESS, job_environment, make_executor
from pe_dense.launch.slurm_commands import SlurmError, check_fits, reason_of
from pe_dense.launch.snapshot import Snapshot, take_snapshot

logger = logging.getLogger(__name__)


class SubmitError(ValueError):
    """The job cannot be submitted as asked."""


@dataclass(frozen=True)
class Request:
    """One command: a run, or an array of runs.

    Attributes:
        config_file: config of the runs.
        overrides: of the config.
        options: of the job.
        local: run on this machine instead of the cluster.
        array: each ``key=value,value``: one run for every combination.
        evaluate_only: evaluate instead of train.
        checkpoint: which one to evaluate.
        cluster: name of the cluster, for the record.
        command: the command line, for the record.
    """

    config_file: str
    overrides: Sequence[str]
    options: JobOptions
    local: bool = False
    array: Sequence[str] = ()
    evaluate_only: bool = False
    checkpoint: str | None = None
    cluster: str | None = None
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """What a request comes to; nothing is written yet.

    Attributes:
        request: the request.
        folder: where snapshot and logs go: ``slurm/`` of the run directory, or of the folder of the array's runs.
        runs: run directory and config of every run.
    """

    request: Request
    folder: Path
    runs: list[tuple[JobFiles, DictConfig]]

    @property
    def snapshot(self) -> Path:
        """Folder of the code."""
        return self.folder / "snapshot"

    def sbatch_text(self) -> str:
        """The file that sbatch gets."""
        executor = make_executor(self.request.options, self.folder)
        if len(self.runs) > 1:
            executor.parameters["map_count"] = len(self.runs)
        return executor._make_submission_file_text(executor._submitit_command_str, "")


def make_plan(request: Request) -> Plan:
    """Check a request as far as possible without writing or submitting anything.

    Raises:
        ValueError: (mostly of its subclasses) if config, options or run directory do not allow it.
    """
    _check_request(request)
    cfg = load_config(request.config_file, request.overrides)
    base = Path(os.path.abspath(str(cfg.train.output_dir)))
    runs = []
    for name, overrides in expand_array(request.array):
        run_dir = base / name
        device = "cuda" if request.options.gpus_per_node else "cpu"
        own = [*overrides, f"train.output_dir={run_dir}", f"train.device={device}"]
        run_cfg = load_config(request.config_file, [*request.overrides, *own])
        files = JobFiles(run_dir)
        check_writable(run_dir)
        _check_directory(files, run_cfg, request)
        runs.append((files, run_cfg))
    return Plan(request, base / "slurm", runs)


def submit(plan: Plan) -> list[JobRecord]:
    """Copy the code, write the runs' configs and hand the job over.

    Returns:
        One job for every run.

    Raises:
        SlurmError: with SLURM's own words if it refuses the job.
        SnapshotError: if the code cannot be copied.
    """
    request = plan.request
    if not request.local:
        _check_commands()
        check_fits(request.options)
    for files, _ in plan.runs:
        files.check_free()
    new = not plan.folder.exists()
    try:
        snapshot = take_snapshot(plan.snapshot)
        for files, cfg in plan.runs:
            files.folder.mkdir(parents=True, exist_ok=True)
            save_config(cfg, files.config)
            files.cancelled.unlink(missing_ok=True)
        jobs = _hand_over(plan)
    except (SlurmError, OSError):
        if new:
            shutil.rmtree(plan.folder, ignore_errors=True)
        raise
    return [_record(plan, files, job, snapshot) for (files, _), job in zip(plan.runs, jobs)]


def expand_array(array: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Folder name and overrides of every run of an array; one run without a name if there is none.

    ``["train.seed=0,1", "optimizer.lr=1e-3,2e-3"]`` gives four, the first ("seed_0-lr_1e-3", ["train.seed=0",
    "optimizer.lr=1e-3"]). Commas inside brackets do not separate.

    Raises:
        SubmitError: for text of another form, or two runs with the same name.
    """
    axes = []
    for text in array:
        key, equals, values = text.partition("=")
        if not (key and equals and values):
            raise SubmitError(f"--array {text}: write key=value,value such as train.seed=0,1,2")
        axes.append([(key, value) for value in _split(values)])
    runs = []
    for point in itertools.product(*axes):
        names = [f"{key.lstrip('+').rsplit('.', 1)[-1]}_{value}" for key, value in point]
        folder = "-".join(re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("_") for name in names)
        runs.append((folder, [f"{key}={value}" for key, value in point]))
    if len({name for name, _ in runs}) < len(runs):
        raise SubmitError(
            "--array gives two runs the same directory: the same value, or the same last part of a key, twice"
        )
    return runs


def _split(values: str) -> list[str]:
    """At commas outside brackets."""
    return [part for part in re.split(r",(?![^\[({]*[\])}])", values) if part]


def _check_request(request: Request) -> None:
    if request.local and request.options.nodes > 1:
        raise SubmitError(f"--local runs on this machine only, but nodes is {request.options.nodes}: leave it out")
    if request.local and request.array:
        raise SubmitError("--local runs one job at a time: leave --array out")
    if request.array and request.evaluate_only:
        raise SubmitError("--eval-only evaluates one run directory: leave --array out")
    if request.checkpoint is not None and not request.evaluate_only:
        raise SubmitError("--checkpoint goes with --eval-only; to start from weights, set train.init_from")


def _check_directory(files: JobFiles, cfg: DictConfig, request: Request) -> None:
    """A run directory with checkpoints is continued: it must be of the same config."""
    step, saved = files.newest_step(), files.run_dir / "config.yaml"
    if request.evaluate_only or not step or not saved.is_file():
        return
    if cfg.train.get("overwrite"):
        raise SubmitError(
            f"train.overwrite is true, but a submitted job continues what is in {files.run_dir} (step {step}): delete "
            f"that folder yourself, or choose another train.output_dir"
        )
    source = step_path(files.run_dir / "checkpoints", step)
    check_same_config(saved.read_text(encoding="utf-8"), _frozen(cfg), source)
    logger.warning("%s holds a run: the job continues it after step %d", files.run_dir, step)


def _frozen(cfg: DictConfig) -> DictConfig:
    """With values that are read from files, where these are on this machine."""
    try:
        return freeze_constants(cfg)
    except Exception as error:
        if user_message(error) is None:
            raise
        logger.warning("%s; the job will look again", error)
        return cfg


def _check_commands() -> None:
    for name in ("sbatch", "srun"):
        if shutil.which(name) is None:
            raise SlurmError(
                f"{name} is not on PATH: submit from a machine of the cluster (a login node, perhaps after a module "
                f"load), or run here with --local"
            )


def _hand_over(plan: Plan) -> list[submitit.Job[Any]]:
    request = plan.request
    runs = [
        ClusterRun(files.run_dir, request.options, Path.cwd(), request.evaluate_only, request.checkpoint)
        for files, _ in plan.runs
    ]
    if request.local:
        executor: submitit.Executor = submitit.LocalExecutor(plan.folder / "logs", max_num_timeout=ENDLESS)
        executor.update_parameters(
            timeout_min=request.options.timeout_min, signal_delay_s=request.options.signal_delay_s,
            tasks_per_node=request.options.tasks, gpus_per_node=request.options.gpus_per_node,
        )  # fmt: skip
        path = os.pathsep.join(filter(None, [str(plan.snapshot), os.environ.get("PYTHONPATH")]))
        with _surroundings(plan.snapshot, {**job_environment(request.options), "PYTHONPATH": path}):
            return executor.submit_array(runs)
    try:
        with _surroundings(Path.cwd(), {}):
            return make_executor(plan.request.options, plan.folder).submit_array(runs)
    except (FailedJobError, FailedSubmissionError) as error:
        raise SlurmError(f"sbatch refused the job: {reason_of(error)}") from error


@contextmanager
def _surroundings(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Inside, the working directory and environment of a submission: it may itself come from within a job."""
    before, variables = os.getcwd(), dict(os.environ)
    if "SLURM_JOB_ID" in variables:
        for name in variables:
            if name.startswith(("SLURM_", "SLURMD_", "SUBMITIT_")) and name != "SLURM_CONF":
                del os.environ[name]
    os.chdir(folder)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)


def _record(plan: Plan, files: JobFiles, job: submitit.Job[Any], snapshot: Snapshot) -> JobRecord:
    request, earlier = plan.request, files.find_job()
    record = JobRecord(
        kind="local" if request.local else "slurm", job_id=job.job_id, submitted=time.time(),
        command=list(request.command or sys.argv), working_dir=os.getcwd(), commit=snapshot.commit,
        dirty=snapshot.dirty, snapshot=str(snapshot.path), logs=str(plan.folder / "logs"),
        world_size=request.options.world_size, cluster=request.cluster, options=asdict(request.options),
        earlier=[] if earlier is None else [*earlier.earlier, earlier.job_id],
    )  # fmt: skip
    files.write_job(record)
    return record
