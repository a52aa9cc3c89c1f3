"""Requests become plans, sbatch files, and jobs of this machine."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pe_dense.config import load_config, save_config
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import RunDirectoryError
from pe_dense.engine.run_log import read_metrics
from pe_dense.launch.job_files import JobFiles
from pe_dense.launch.options import JobOptions
from pe_dense.launch.run_log_tail import tail
from pe_dense.launch.run_status import cancel, find_runs, read_status
from pe_dense.launch.slurm import Request, SubmitError, expand_array, make_plan, submit
from pe_dense.launch.slurm_commands import SlurmError

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo" / "mask_rcnn_scenes.py"


def request(tmp_path: Path, *overrides: str, **more: Any) -> Request:
    options = more.pop("options", JobOptions())
    return Request(str(DEMO), [f"train.output_dir={tmp_path / 'run'}", *overrides], options, **more)


def test_sbatch_file(tmp_path: Path) -> None:
    options = JobOptions(
        nodes=2, gpus_per_node=4, cpus_per_task=6, mem="64G", partition="gpu", account="vision", reservation="r",
        timeout_min=90, preempt_signal="TERM", signal_delay_s=60, env={"NCCL_DEBUG": "INFO"},
        setup=["module load cuda"], srun_args=["--mpi=none"], sbatch={"mail-user": "a@b", "exclusive": True},
        python="apptainer exec image.sif python", qos="high", constraint="a100", nodelist="n1", exclude="n[2-3]",
        dependency="afterok:12", comment="why not",
    )  # fmt: skip
    plan = make_plan(request(tmp_path, options=options))
    text = plan.sbatch_text()
    folder = tmp_path / "run" / "slurm"
    for line in (
        "#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=4", "#SBATCH --gpus-per-node=4", "#SBATCH --cpus-per-task=6",
        "#SBATCH --mem=64G", "#SBATCH --partition=gpu", "#SBATCH --account=vision", "#SBATCH --reservation=r",
        "#SBATCH --time=90", "#SBATCH --signal=TERM@60", "#SBATCH --requeue", "#SBATCH --open-mode=append",
        "#SBATCH --qos=high", "#SBATCH --constraint=a100", "#SBATCH --nodelist=n1", "#SBATCH --exclude='n[2-3]'",
        "#SBATCH --dependency=afterok:12", "#SBATCH --comment='why not'",
        "#SBATCH --mail-user=a@b", "#SBATCH --exclusive", "module load cuda", "export NCCL_DEBUG=INFO",
        "export SUBMITIT_PREEMPT_SIGNAL=TERM", f"export PYTHONPATH={folder}/snapshot" + '"${PYTHONPATH:+:$PYTHONPATH}"',
        f"cd {folder}/snapshot || {{",
    ):  # fmt: skip
        assert line in text.splitlines(), line
    assert "--kill-on-bad-exit=1 --cpus-per-task=6 --mpi=none apptainer exec image.sif python -u -m submitit" in text
    assert "wckey" not in text
    assert plan.runs[0][1].train.device == "cuda"
    assert not (tmp_path / "run").exists()  # nothing is written


def test_array(tmp_path: Path) -> None:
    assert expand_array([]) == [("", [])]
    runs = expand_array(["train.seed=0,1", "optimizer.lr=1e-3", "+x.y=[1,2],[3]"])
    assert len(runs) == 4
    assert runs[0] == ("seed_0-lr_1e-3-y_1_2", ["train.seed=0", "optimizer.lr=1e-3", "+x.y=[1,2]"])
    for array in (["train.seed"], ["train.seed="], ["=3"]):
        with pytest.raises(SubmitError, match=r"write key=value,value such as train\.seed=0,1,2"):
            expand_array(array)
    with pytest.raises(SubmitError, match="gives two runs the same directory"):
        expand_array(["train.seed=0,0"])

    plan = make_plan(request(tmp_path, array=["train.seed=3,4"], options=JobOptions(array_parallelism=1)))
    assert [files.run_dir for files, _ in plan.runs] == [tmp_path / "run" / name for name in ("seed_3", "seed_4")]
    assert [cfg.train.seed for _, cfg in plan.runs] == [3, 4]
    assert "#SBATCH --array=0-1%1" in plan.sbatch_text()
    assert f"#SBATCH --output={tmp_path}/run/slurm/logs/%A_%a_0_log.out" in plan.sbatch_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"local": True, "options": JobOptions(nodes=2)}, "--local runs on this machine only, but nodes is 2"),
        ({"local": True, "array": ["train.seed=1,2"]}, "--local runs one job at a time"),
        ({"array": ["train.seed=1,2"], "evaluate_only": True}, "--eval-only evaluates one run directory"),
        ({"checkpoint": "c"}, "--checkpoint goes with --eval-only"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(SubmitError, match=message):
        make_plan(request(tmp_path, **more))


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SlurmError, match=r"sbatch is not on PATH: submit from a machine of the cluster .*--local"):
        submit(make_plan(request(tmp_path)))
    assert not (tmp_path / "run").exists()


def test_run_directory_of_another_config(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    checkpoint = run_dir / "checkpoints" / "step_00000012"
    checkpoint.mkdir(parents=True)
    (checkpoint / "COMPLETE").touch()
    classes = "model.num_classes=3"
    save_config(load_config(DEMO, [f"train.output_dir={run_dir}", classes]), run_dir / "config.yaml")
    make_plan(request(tmp_path, classes))  # the same one is continued
    with pytest.raises(RunDirectoryError, match=r"cannot resume from .*step_00000012.*optimizer.lr: 0.0015 -> 1.0"):
        make_plan(request(tmp_path, classes, "optimizer.lr=1.0"))
    with pytest.raises(SubmitError, match=r"train.overwrite is true, but a submitted job continues .*\(step 12\)"):
        make_plan(request(tmp_path, classes, "train.overwrite=true"))


def wait_for(condition: Any, what: str, log: Path) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, f"waited for {what}\n{log.read_text() if log.exists() else ''}"
        time.sleep(0.2)


@pytest.mark.slow
def test_local_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_scenes(tmp_path / "scenes", train=4, val=2, size=64, videos=0).root
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)  # the job finds relative paths of the config where it was submitted
    small = [
        f"data.root={root.relative_to(tmp_path)}", "train.epochs=null", "train.steps=100000", "train.log_period=1",
        "dataloader.train.batch_size=2", "dataloader.train.transforms.1.size=64",
    ]  # fmt: skip
    local = {"local": True, "options": JobOptions(tasks_per_node=2)}
    [job] = submit(make_plan(request(tmp_path, *small, **local)))
    run_dir, log = tmp_path / "run", job.log(errors=True)
    files = JobFiles(run_dir)
    wait_for(lambda: any("loss" in line for line in read_metrics(run_dir / "metrics.jsonl")), "a step", log)
    status = read_status(run_dir)
    assert (status.state, status.job.world_size, status.restarts) == ("RUNNING", 2, 0)
    assert list(find_runs([tmp_path])) == [run_dir]
    with pytest.raises(ValueError, match=f"job {job.job_id} already has the run directory"):
        submit(make_plan(request(tmp_path, *small, **local)))

    cancel(run_dir)
    wait_for(lambda: read_status(run_dir).state == "CANCELLED", "the end", log)
    assert files.newest_step() == read_metrics(run_dir / "metrics.jsonl")[-1]["step"]
    assert any("stopped after step" in line for line in tail(run_dir, lines=50))
    os.waitpid(int(job.job_id), 0)
