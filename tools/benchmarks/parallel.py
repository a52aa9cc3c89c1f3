"""What training in several processes, writing checkpoints and resuming cost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.timing import Row, ratio_row
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "custom" / "mask_rcnn_pe_spatial_b16.py"


class Scored(nn.Module):
    """An encoder with a loss, as the engine wants it."""

    def __init__(self) -> None:
        super().__init__()
        from pe_dense.modeling.backbone import pe_spatial_t16_512

        self.encoder = pe_spatial_t16_512()

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        images = torch.stack([sample["image"] for sample in batch])
        return {"loss": self.encoder.forward_intermediates(images, [-1])[0].square().mean()}


class SameBatch:
    """A train loader that costs nothing."""

    def __init__(self, images: int, side: int) -> None:
        self.dataset, self.batch_size, self.steps_per_epoch = range(10**6), 2 * images, 1.0
        self.batch = [{"image": torch.randn(3, side, side), "image_id": i} for i in range(images)]

    def iterate(self, start: int) -> Iterator[list[dict[str, Any]]]:
        while True:
            yield self.batch


def loop_against_bare_ddp(folder: str, images: int, repeats: int) -> None:
    """Body of each process: seconds a step, interleaved, into a file."""
    from pe_dense.engine import AdamW, TrainSettings
    from pe_dense.engine.hooks import LogHook
    from pe_dense.engine.trainer import Trainer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    loader, device = SameBatch(images, 224), torch.device("cpu")
    settings = TrainSettings(folder, steps=repeats, device="cpu", clip_norm=1.0)
    model = Scored()
    trainer = Trainer(settings, model, AdamW(1e-4)(model), lambda step: 1.0, loader, device)
    log = LogHook(10)
    bare = DistributedDataParallel(Scored(), gradient_as_bucket_view=True, static_graph=True)
    optimizer = AdamW(1e-4)(bare)
    ours, theirs = [], []
    for step in range(repeats + 1):
        torch.distributed.barrier()
        start = time.perf_counter()
        trainer.train_step(loader.batch)
        trainer.values.update(data_time=0.0, step_time=time.perf_counter() - start)
        log.after_step(trainer)
        middle = time.perf_counter()
        torch.distributed.barrier()
        again = time.perf_counter()
        bare(loader.batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step:
            ours.append(middle - start)
            theirs.append(time.perf_counter() - again)
    if torch.distributed.get_rank() == 0:
        Path(folder, "seconds.json").write_text(json.dumps([median(ours), median(theirs)]))


def stall(quick: bool, folder: Path) -> Row:
    """How long a training waits for a checkpoint of PE-Spatial B (T if ``quick``) and AdamW's averages."""
    from pe_dense.engine.sharded import CheckpointWriter
    from pe_dense.modeling.backbone import pe_spatial_b16_512, pe_spatial_t16_512

    weights = (pe_spatial_t16_512 if quick else pe_spatial_b16_512)().state_dict()
    tensors = {f"model.{name}": value for name, value in weights.items()}
    for what in ("exp_avg", "exp_avg_sq"):
        tensors.update({f"optimizer.{name}.{what}": torch.randn_like(value) for name, value in weights.items()})
    size = sum(t.numel() * t.element_size() for t in tensors.values()) / 1e6
    seconds: dict[bool, list[float]] = {False: [], True: []}
    writers = {background: CheckpointWriter(folder / str(background), 1, background) for background in seconds}
    for step in range(2 if quick else 4):
        for background, writer in writers.items():
            start = time.perf_counter()
            writer.save(step, tensors, {}, {})
            seconds[background].append(time.perf_counter() - start)
            writer.wait()
    ours, theirs = (median(seconds[background][1:]) for background in (True, False))
    return ratio_row(
        f"wait for a checkpoint of {size:.0f} MB, background", "written in the foreground", ours, theirs, target=10.0,
        note=f"{size / theirs:.0f} MB/s to the disk, flushed",
    )  # fmt: skip


def seconds_to_first_step(data: Path, output: Path, resume: bool, quick: bool) -> float:
    """Wall time of a fresh interpreter until its first optimiser step."""
    code = f"""
import sys, time, warnings
start = time.time()
warnings.simplefilter("ignore")
from pe_dense.config import load_config
from pe_dense.engine import Hook, train
class Stop(Hook):
    def after_step(self, trainer):
        if self.first is None:
            self.first = time.time() - start
        trainer.stop.received = 15
    first = None
cfg = load_config({str(CONFIG)!r}, ["data.json={data}/annotations/instances_train.json", "data.images={data}/train",
    "model.backbone.backbone.weights=null", "data.image_size=256", "train.device=cpu", "train.precision=fp32",
    "dataloader.train.batch_size=1", "dataloader.train.num_workers=0", "train.output_dir={output}", "evaluator=null",
    "train.num_threads=2", "model.backbone.backbone.depth={2 if quick else 12}",
    "model.backbone.backbone.global_blocks=[1]"])
stop = Stop()
try:
    train(cfg, resume={resume}, hooks=[stop])
except SystemExit:
    pass
print(stop.first)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.split()[-1])


def start_of_a_run(quick: bool, folder: Path) -> Row:
    """A resumed run against a fresh one, both up to the first step."""
    from pe_dense.data.scenes import write_scenes

    write_scenes(folder / "scenes", train=8, val=2, size=128, videos=0)
    fresh, resumed = [], []
    for repeat in range(1 if quick else 3):
        output = folder / f"run{repeat}"
        fresh.append(seconds_to_first_step(folder / "scenes", output, False, quick))
        resumed.append(seconds_to_first_step(folder / "scenes", output, True, quick))
    return ratio_row(
        "start of a resumed run, to its first step", "of a fresh one (no weights read)", median(resumed), median(fresh),
        target=1 / 1.3, note="Mask R-CNN on PE-Spatial B, 256 px",
    )  # fmt: skip


def run(quick: bool) -> Iterator[Row]:
    """All rows; ``quick`` takes smaller models and fewer repeats."""
    from pe_dense.launch import launch

    with tempfile.TemporaryDirectory() as name:
        launch(loop_against_bare_ddp, 2, (name, 1 if quick else 2, 5 if quick else 31), "gloo")
        ours, theirs = json.loads(Path(name, "seconds.json").read_text())
        yield ratio_row(
            "a step of the training loop, 2 processes", "bare DDP loop, 2 processes", ours, theirs, target=0.97,
            note="PE-Spatial T, 224 px, 2 images a process",
        )  # fmt: skip
        yield stall(quick, Path(name))
        yield start_of_a_run(quick, Path(name))
