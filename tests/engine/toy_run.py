"""A model, data and evaluator that are as small as the engine allows, written against the rooms' interfaces."""

from __future__ import annotations

import math
import os
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from functools import partialmethod
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._dynamo.utils import counters

from pe_dense.config import LazyCall as L
from pe_dense.config import load_config
from pe_dense.engine import AdamW, Hook, MultiStepSchedule, TrainSettings, train
from pe_dense.engine import distributed as dist
from pe_dense.engine.sharded import CheckpointWriteError, read_facts, read_own, read_tensors, step_path
from pe_dense.engine.trainer import Trainer
from pe_dense.structures import Categories, Instances

NUM_IMAGES = 12


class ToyModel(nn.Module):
    """Classifies the brightest channel; has dropout, so that generators matter."""

    def __init__(
        self,
        num_classes: int = 3,
        width: int = 8,
        dropout: float = 0.2,
        weights: str | None = None,
        frozen: bool = False,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        between = nn.LayerNorm(width) if norm else nn.Identity()
        self.body = nn.Sequential(nn.Linear(3, width), between, nn.GELU(), nn.Dropout(dropout))
        self.body.requires_grad_(not frozen)
        self.head = nn.Linear(width, num_classes)
        if weights is not None:
            raise FileNotFoundError(f"weights {weights} are not on this machine")

    def shard_units(self) -> list[nn.Module]:
        return [self.body]

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        colours = torch.stack([s["image"].float().mean((1, 2)) / 255 for s in batch])
        logits = self.head(self.body(colours))
        if self.training:
            target = torch.stack([s["instances"].classes[0] for s in batch])
            return {"loss_cls": nn.functional.cross_entropy(logits, target), "loss_size": 1e-3 * logits.square().mean()}
        outputs = []
        for sample, row in zip(batch, logits.softmax(1)):
            size = (sample["height"], sample["width"])
            box = torch.tensor([[0.0, 0.0, size[1], size[0]]]).to(row)
            outputs.append({"instances": Instances(size, box, row.argmax()[None], row.max()[None])})
        return outputs


class ToyDataset:
    """Images of one colour; the class is the brightest channel."""

    def __init__(self, num_images: int = NUM_IMAGES, names: tuple[str, ...] = ("red", "green", "blue")) -> None:
        self.num_images = num_images
        self.categories = Categories(tuple(range(1, 1 + len(names))), tuple(names))

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> dict[str, Any]:
        colour = torch.full((3, 4, 6), 60, dtype=torch.uint8)
        colour[index % 3] = 120 + 10 * (index % 7)
        instances = Instances((4, 6), torch.tensor([[0.0, 0.0, 6.0, 4.0]]), torch.tensor([index % 3]))
        return {
            "image": colour, "height": 4, "width": 6, "image_id": 100 + index, "file_name": f"{index}.png",
            "instances": instances,
        }  # fmt: skip


class ToyTrainLoader:
    """Batches that depend on their number only. Draws random numbers of its own, as a real loader may."""

    def __init__(
        self, dataset: ToyDataset, batch_size: int = 4, num_workers: int = 0, poison: int | None = None
    ) -> None:
        self.dataset, self.batch_size, self.poison = dataset, batch_size, poison
        self.num_workers = num_workers

    @property
    def steps_per_epoch(self) -> float:
        return len(self.dataset) / self.batch_size

    def iterate(self, start: int) -> Iterator[list[dict[str, Any]]]:
        torch.rand(start % 3 + 1)
        number = start
        while True:
            order = np.random.RandomState(number).permutation(len(self.dataset))[: self.batch_size]
            np.random.rand()
            batch = [self.dataset[int(i)] for i in order]
            if number == self.poison:
                batch[1]["image"] = torch.full((3, 4, 6), math.nan)
            yield batch[dist.rank() :: dist.world_size()]
            number += 1


class ToyTestLoader:
    """Every image once."""

    def __init__(self, dataset: ToyDataset, transforms: list[Any] | None = None, num_workers: int = 0) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(range(dist.rank(), len(self.dataset), dist.world_size()))

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        torch.rand(5)
        mine = range(dist.rank(), len(self.dataset), dist.world_size())
        return iter([self.dataset[i]] for i in mine)


class ToyEvaluator:
    """Accuracy in per cent under the name of a detection metric, and the mean score."""

    def __init__(self, output_dir: str | None = None) -> None:
        self.output_dir = output_dir
        self.reset()

    def reset(self) -> None:
        self.right: list[float] = []
        self.scores: list[float] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Instances]]) -> None:
        for sample, output in zip(inputs, outputs):
            found = output["instances"]
            assert found.classes is not None
            assert found.scores is not None
            self.right.append(float(found.classes[0] == sample["instances"].classes[0]))
            self.scores.append(float(found.scores[0]))

    def evaluate(self) -> dict[str, float]:
        right = list(chain.from_iterable(dist.gather_objects(self.right)))
        scores = list(chain.from_iterable(dist.gather_objects(self.scores)))
        return {
            "bbox/AP": 100 * float(np.mean(right)), "bbox/score": 100 * float(np.mean(scores)),
            "bbox/AP-red": 1.0,
        }  # fmt: skip


class CountingHook(Hook):
    """Counts the steps of the run, and logs the count."""

    def __init__(self, name: str, state: Any = None) -> None:
        self.name, self.count, self.state = name, 0, state
        self.calls: list[str] = []

    def before_train(self, trainer: Trainer) -> None:
        self.calls.append(f"before {trainer.step}")

    def after_step(self, trainer: Trainer) -> None:
        self.count += 1
        trainer.values[f"hooks/{self.name}"] = self.count

    def after_train(self, trainer: Trainer) -> None:
        self.calls.append(f"after {trainer.step}")

    def state_dict(self) -> dict[str, Any]:
        return {"name": self.name, "count": self.count, "state": self.state() if callable(self.state) else self.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert state["name"] == self.name
        self.count = state["count"]


def make_config(output_dir: Path, **train: Any) -> DictConfig:
    """A whole config of the toy run; keyword arguments go to :class:`TrainSettings`."""
    dataset = L(ToyDataset)(num_images=NUM_IMAGES)
    settings = {"steps": 12, "checkpoint_steps": 3, "eval_period": 2, "log_period": 2, "device": "cpu", **train}
    settings = {key: value for key, value in settings.items() if value is not None}
    return DictConfig({
        "model": L(ToyModel)(num_classes=3, dropout=0.2),
        "dataloader": {
            "train": L(ToyTrainLoader)(dataset=dataset, batch_size=4),
            "test": L(ToyTestLoader)(dataset=dataset, transforms=[]),
        },
        "evaluator": L(ToyEvaluator)(),
        "optimizer": L(AdamW)(lr=0.02, weight_decay=0.05),
        "lr_schedule": L(MultiStepSchedule)(milestones=[3], warmup_steps=4),
        "train": L(TrainSettings)(output_dir=str(output_dir), **settings),
    })  # fmt: skip


def weights_of(path: Path) -> dict[str, Tensor]:
    """The trained weights in a checkpoint folder."""
    return read_tensors(path, "model.")


def state_of(path: Path) -> dict[str, Any]:
    """Everything in a checkpoint folder of one process."""
    tensors = {part: read_tensors(path, f"{part}.") for part in ("model", "ema", "optimizer")}
    return {**tensors, **read_own(path, 0), **read_facts(path)}


def train_saved_configs(*paths: Path) -> None:
    """Body of a started process."""
    for path in paths:
        train(load_config(path), resume=True)


def train_compiled(*paths: Path) -> None:
    """Body of a started process: :func:`train_saved_configs` with a compiler that needs no C++ compiler."""
    with patch.object(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager")):
        train_saved_configs(*paths)
    assert counters["frames"]["ok"] > 0, "nothing was compiled"


def wait_for_checkpoint(trainer: Trainer, step: int) -> None:
    """Until the checkpoint of a step is whole: it may still be written behind the training."""
    while not step_path(trainer.checkpoint_dir, step).exists():
        time.sleep(0.01)


class KillAt(Hook):
    """Ends one process as a kernel out of memory would, once, when the checkpoint of an earlier step is finished."""

    def __init__(self, step: int, rank: int, saved: int) -> None:
        self.step, self.rank, self.saved = step, rank, saved

    def after_step(self, trainer: Trainer) -> None:
        mark = Path(trainer.settings.output_dir) / "killed"
        if trainer.step == self.step and dist.rank() == self.rank and not mark.exists():
            mark.touch()
            wait_for_checkpoint(trainer, self.saved)
            os.kill(os.getpid(), signal.SIGKILL)


class FillDisk(Hook):
    """From a step on, one process can write small files only, by a limit of the operating system; once, when the
    checkpoint of an earlier step is finished."""

    def __init__(self, step: int, rank: int, saved: int) -> None:
        self.step, self.rank, self.saved = step, rank, saved

    def after_step(self, trainer: Trainer) -> None:
        mark = Path(trainer.settings.output_dir) / "full"
        if trainer.step == self.step and dist.rank() == self.rank and not mark.exists():
            mark.touch()
            wait_for_checkpoint(trainer, self.saved)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def train_until_full(*paths: Path) -> None:
    """Body of a started process: each run ends by a full disk, and is resumed when there is room again.

    Beside a config, ``.0``, ``.1`` ... hold what each process was told, ``.left`` the checkpoints after it.
    """
    for path in paths:
        cfg = load_config(path)
        try:
            train(cfg)
        except CheckpointWriteError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
            path.with_suffix(f".{dist.rank()}").write_text(str(error))
        dist.barrier()
        if dist.is_main():
            left = (Path(cfg.train.output_dir) / "checkpoints").iterdir()
            path.with_suffix(".left").write_text(" ".join(sorted(file.name for file in left)))
        dist.barrier()
        train(cfg, resume=True)
