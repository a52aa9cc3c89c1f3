"""The step: accumulation, precision, losses that are not finite, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import ToyModel, make_config, weights_of

from pe_dense.config import save_config
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import NonFiniteLossError, load_replay, read_metrics, train
from pe_dense.engine.checkpoint import latest_checkpoint
from pe_dense.engine.hooks import is_due
from pe_dense.engine.rng import set_rng_state
from pe_dense.engine.sharded import list_checkpoints, read_facts, read_own, step_path
from pe_dense.structures import Instances

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.Popen[str]]


def toy_environment() -> dict[str, str]:
    paths = [str(ROOT), str(Path(__file__).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_accumulation_is_the_mean_over_the_batch(tmp_path: Path, parts: int) -> None:
    """Also when the parts have different sizes (4 images in 3 parts)."""
    for name, accumulate in (("whole", 1), ("parts", parts)):
        cfg = make_config(tmp_path / name, steps=5, accumulate=accumulate, clip_norm=0.1)
        cfg.model.dropout = 0.0
        train(cfg)
    whole, split = (weights_of(step_path(tmp_path / name / "checkpoints", 5)) for name in ("whole", "parts"))
    for key, value in whole.items():
        torch.testing.assert_close(split[key], value, rtol=1e-4, atol=1e-6)
    lines = [read_metrics(tmp_path / name / "metrics.jsonl")[0] for name in ("whole", "parts")]
    for key in ("loss", "loss_cls", "loss_size", "grad_norm"):
        assert lines[1][key] == pytest.approx(lines[0][key], rel=1e-5)


def test_more_parts_than_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.accumulate is 5 but this process has only 4 images per step"):
        train(make_config(tmp_path, accumulate=5))


def test_bf16_keeps_fp32_weights(tmp_path: Path) -> None:
    train(make_config(tmp_path, steps=2, precision="bf16"))
    assert {w.dtype for w in weights_of(step_path(tmp_path / "checkpoints", 2)).values()} == {torch.float32}


def test_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    train(make_config(tmp_path, log_period=1))
    rates = [line["lr"] for line in read_metrics(tmp_path / "metrics.jsonl") if "loss" in line]
    warm = [0.02 * (0.001 + 0.999 * step / 4) for step in range(4)]
    assert rates == pytest.approx([*warm, *[0.02] * 5, *[0.002] * 3])  # the milestone is 3 epochs = 9 steps


def test_non_finite_loss_stops_and_can_be_replayed(tmp_path: Path) -> None:
    cfg = make_config(tmp_path, checkpoint_steps=2)
    cfg.dataloader.train.poison = 4
    with pytest.raises(NonFiniteLossError) as caught:
        train(cfg)
    text = str(caught.value)
    path = next(tmp_path.glob("nonfinite_step_*.pt"))
    assert "step 5 is not finite (loss = nan, loss_cls = nan, loss_size = nan" in text
    assert str(path) in text
    replay = load_replay(path)
    assert replay["step"] == 5
    assert str([sample["image_id"] for sample in replay["batch"]]) in text
    assert isinstance(replay["batch"][0]["instances"], Instances)
    # the step was not applied, and the file alone reproduces it
    for key, value in weights_of(step_path(tmp_path / "checkpoints", 4)).items():
        assert torch.equal(replay["model"][key], value)
    model = ToyModel()
    model.load_state_dict(replay["model"])
    set_rng_state(replay["rng"])
    assert model.train()(replay["batch"])["loss_cls"].isnan()


@pytest.mark.parametrize(
    ("period", "due"),
    [(0, [10]), (3, [3, 6, 9, 10]), (2.5, [3, 5, 8, 10]), (0.1 * 30, [3, 6, 9, 10]), (0.5, list(range(1, 11)))],
)
def test_periods_of_fractional_epochs(period: float, due: list[int]) -> None:
    assert [step for step in range(1, 11) if is_due(step, period, 10)] == due


def wait_for(condition: Any, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running_in_group(group: int) -> list[str]:
    """Python processes of a process group that have not ended, without multiprocessing's own helper.

    A process that is ending has no command line any more: ps shows its name in brackets.
    """
    listing = subprocess.run(["ps", "-ww", "-eo", "pgid,state,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()[1:]]
    running = [args for pgid, state, args in rows if pgid == str(group) and state != "Z" and args[0] != "["]
    return [args for args in running if "resource_tracker" not in args]


@pytest.fixture
def start_training() -> Iterator[Start]:
    """Starts ``tools/train_net.py`` in a process group of its own, and returns after some steps."""
    groups = []

    def start(out: Path, config: Path, processes: int, *overrides: str) -> subprocess.Popen[str]:
        command = [sys.executable, "tools/train_net.py", "--config-file", str(config), *overrides]
        if processes > 1:
            command += ["--num-procs", str(processes)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=toy_environment(), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        groups.append(process.pid)
        wait_for(lambda: len(read_metrics(out / "metrics.jsonl")) > 2, process)
        return process

    yield start
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGUSR2, 2)]
)
def test_signal_saves_a_checkpoint(
    start_training: Start, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    """SIGTERM to the process that was started; Ctrl-C, as a terminal sends it, to all processes of the group."""
    out = tmp_path / "out"
    save_config(make_config(out, steps=10**7, checkpoint_steps=10**6, eval_period=0), tmp_path / "config.yaml")
    process = start_training(out, tmp_path / "config.yaml", processes)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    check_saved_at_signal(process, out, number, processes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_signal_to_processes_with_loader_workers(start_training: Start, tmp_path: Path, number: signal.Signals) -> None:
    """As SLURM sends it: to every process there is, workers of the data loaders included."""
    root = write_scenes(tmp_path / "scenes", train=8, val=2, size=64, videos=0).root
    out = tmp_path / "out"
    process = start_training(
        out, ROOT / "configs/demo/mask_rcnn_scenes.py", 2, f"data.root={root}", f"train.output_dir={out}",
        "train.epochs=null", "train.steps=100000", "train.checkpoint_period=0", "train.eval_period=0",
        "train.log_period=1", "model.backbone.backbone.embed_dim=48", "dataloader.train.num_workers=2",
        "dataloader.train.transforms.1.size=64",
    )  # fmt: skip
    assert len(running_in_group(process.pid)) == 1 + 2 * 3
    os.killpg(process.pid, number)
    output = check_saved_at_signal(process, out, number, 2)
    assert "DataLoader worker" not in output


@pytest.mark.slow
def test_signal_to_one_process_stops_all(start_training: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    save_config(make_config(out, steps=10**7, checkpoint_steps=10**6, eval_period=0), tmp_path / "config.yaml")
    process = start_training(out, tmp_path / "config.yaml", 2)
    os.kill(json.loads((out / "heartbeats" / "rank_00001.json").read_text())["pid"], signal.SIGUSR2)
    check_saved_at_signal(process, out, signal.SIGUSR2, 2)


def check_saved_at_signal(process: subprocess.Popen[str], out: Path, number: signal.Signals, processes: int) -> str:
    """Exit code, one checkpoint of all processes, nobody left; what the program printed."""
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 128 + number, output
    assert f"{number.name} received: finishing this step" in output
    assert "continue with --resume" in output
    assert "Traceback" not in output
    saved = latest_checkpoint(out / "checkpoints")
    assert list_checkpoints(out / "checkpoints") == [saved]
    assert saved is not None
    assert f"stopped after step {read_facts(saved)['step']}" in output
    assert all(read_own(saved, rank) for rank in range(processes))  # every process took part in it
    assert not running_in_group(process.pid)
    return output
