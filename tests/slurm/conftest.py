"""A cluster for all tests of this folder, and tiny trainings on it.

``PE_DENSE_SLURM=require`` makes a missing cluster an error instead of a skip, ``off`` skips always.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, obstacles
from pace import Pace
from trainings import ROOT, STEPS, Start, Training, slurm

from pe_dense.config import LazyCall as L
from pe_dense.config import load_config, save_config
from pe_dense.data.scenes import write_scenes
from pe_dense.launch.options import JobOptions
from pe_dense.launch.slurm import Request, make_plan, submit

SECONDS_PER_TEST = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """A test that waits for something that does not come must end."""

    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"the test took longer than {SECONDS_PER_TEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_PER_TEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def _possible() -> None:
    wish = os.environ.get("PE_DENSE_SLURM", "auto")
    reasons = obstacles() if wish != "off" else ["PE_DENSE_SLURM=off"]
    if wish == "auto" and "PYTEST_XDIST_WORKER" in os.environ:
        reasons.append("several test processes at once; run pytest tests/slurm alone")
    if reasons and wish == "require":
        pytest.fail(f"no SLURM cluster: {'; '.join(reasons)}")
    if reasons:
        pytest.skip(f"no SLURM cluster: {'; '.join(reasons)}")


@pytest.fixture(scope="session")
def cluster(_possible: None) -> Iterator[Cluster]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the cluster is stopped in order
    cluster = Cluster().start()
    # sbatch passes the environment on: one thread per process, and the hook of these tests can be imported
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "PYTHONPATH")}
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before["PYTHONPATH"]]))
    try:
        yield cluster
    finally:
        cluster.stop()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The demo recipe on eight small images."""
    root = write_scenes(tmp_path_factory.mktemp("scenes"), train=8, val=4, size=64, videos=0).root
    return [
        f"data.root={root}", "train.epochs=null", f"train.steps={STEPS}", "train.checkpoint_steps=4",
        "train.log_period=1", "train.eval_period=0", "dataloader.train.batch_size=4",
        "dataloader.train.transforms.1.size=64", "dataloader.test.transforms.0.short_edge_length=64",
        "dataloader.test.transforms.0.max_size=64", "model.backbone.backbone.embed_dim=48",
        "model.backbone.backbone.drop_path_rate=0.2",
    ]  # fmt: skip


@pytest.fixture
def start(cluster: Cluster, overrides: Sequence[str], tmp_path: Path) -> Iterator[Start]:
    """Submits a training that waits after step 5 until it is told to go. At the end of the test all jobs are ended."""

    def start(name: str = "run", **options: Any) -> Training:
        run_dir = tmp_path / name
        config = tmp_path / f"{name}.yaml"
        cfg = load_config(ROOT / "configs/demo/mask_rcnn_scenes.py", [*overrides, f"train.output_dir={run_dir}"])
        cfg.hooks = [L(Pace)(hold=5, go=str(tmp_path / f"{name}.go"))]
        save_config(cfg, config)
        request = Request(str(config), [], JobOptions(**{"timeout_min": 60, "nodes": 2, **options}))
        return Training(run_dir, submit(make_plan(request))[0].job_id)

    yield start
    cluster.cancel_all()
    end = time.monotonic() + 30
    while left := slurm("squeue", "-h"):
        assert time.monotonic() < end, f"jobs that do not end:\n{left}"
        time.sleep(0.2)
