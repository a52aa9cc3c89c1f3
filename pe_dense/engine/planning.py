"""What a run will need before it starts: memory, communication and time, from its config alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from pe_dense.config import instantiate
from pe_dense.engine.analysis import Part, parameters_by_part
from pe_dense.engine.build import without_pretrained
from pe_dense.engine.hardware import Setup
from pe_dense.engine.parallel import shard_units
from pe_dense.engine.settings import TrainSettings
from pe_dense.engine.simulation import StepCost, imitated, training_batch, training_step

_FP32, _BF16 = 4, 2  # bytes


@dataclass(frozen=True)
class Needs:
    """What a model asks for in training, on any machine.

    Attributes:
        parts: parameters of the model and of its parts.
        units: parameters of each unit that FSDP gathers on its own.
        weights: bytes of all parameters.
        gradients: bytes of a gradient for each trainable one.
        optimizer: bytes of the optimiser's state.
        average: bytes of the moving average of the weights, 0 without one.
        images: that one pass through the model works on.
        configured: blocks are recomputed every so many, 0 = none; None if the model cannot.
        steps: for each such choice, what one pass takes.
    """

    parts: list[Part]
    units: list[int]
    weights: int
    gradients: int
    optimizer: int
    average: int
    images: int
    configured: int | None
    steps: dict[int, StepCost]

    @property
    def chosen(self) -> StepCost:
        """One pass as configured."""
        return self.steps[self.configured or 0]


@dataclass(frozen=True)
class Row:
    """A number and how it came about."""

    name: str
    value: float
    formula: str


def measure(cfg: DictConfig, settings: TrainSettings, images: int, size: tuple[int, int], objects: int = 100) -> Needs:
    """Build the model without memory and run it on shapes (see :mod:`pe_dense.engine.simulation`).

    Args:
        cfg: ``model`` and ``optimizer`` are read.
        settings: precision and average.
        images: of one pass.
        size: height and width of the padded batch.
        objects: in each image.
    """
    with torch.device("meta"):
        model: nn.Module = instantiate(without_pretrained(cfg).model)
    towers: list[Any] = [m for m in model.modules() if hasattr(m, "checkpoint_every")]
    configured = int(towers[0].checkpoint_every) if towers else None
    # none, then more and more
    choices = sorted({0, 1, 2, configured}, key=lambda n: 1 / n if n else 0) if configured is not None else [0]
    steps = {}
    with imitated(model) as model:
        batch = training_batch(images, *size, objects, getattr(model, "labels", ()) or ("instances",))
        for every in choices:
            for tower in towers:
                tower.checkpoint_every = every
            steps[every] = training_step(model, batch, settings.precision)
        optimizer = _optimizer_bytes(instantiate(cfg.optimizer)(model))
    return Needs(
        parts=parameters_by_part(model),
        units=[_count(unit) for unit in shard_units(model)],
        weights=_bytes(model.parameters()),
        gradients=_bytes(p for p in model.parameters() if p.requires_grad),
        optimizer=optimizer,
        average=_bytes(model.state_dict().values()) if settings.ema_decay is not None else 0,
        images=images,
        configured=configured,
        steps=steps,
    )


def _optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Of the state that the first step makes."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return _bytes(v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def images_per_pass(batch_size: int, world: int, accumulate: int) -> int:
    """Images that a process works on at a time.

    Raises:
        ValueError: if the processes cannot share the batch.
    """
    share = batch_size // world
    if batch_size % world or share < accumulate:
        raise ValueError(
            f"dataloader.train.batch_size {batch_size} cannot be shared by {world} processes in train.accumulate="
            f"{accumulate} parts each: make it a multiple of their product"
        )
    return -(-share // accumulate)


def memory(needs: Needs, step: StepCost, settings: TrainSettings, setup: Setup) -> list[Row]:
    """Bytes of each GPU at the fullest moment of a step; ``step`` is one of ``needs.steps``."""
    n = setup.world if settings.parallel == "fsdp" else 1
    share = " / n" if n > 1 else ""
    rows = [Row("weights, fp32", needs.weights / n, f"4 B x P{share}")]
    if settings.parallel == "fsdp":
        rows.append(_gathered(needs, settings))
    elif step.with_copies > step.activations:
        rows.append(Row("weights, bf16 copies", step.with_copies - step.activations, "autocast's, in a pass *"))
    if setup.world == 1 and settings.accumulate == 1:
        rows.append(Row("gradients", step.with_gradients - step.with_copies, "at the fullest moment *"))
    else:
        rows.append(Row("gradients", needs.gradients / n, f"4 B x T{share}"))
    rows.append(Row("optimizer state", needs.optimizer / n, f"after a step *{share}"))
    if needs.average:
        rows.append(Row("EMA", needs.average / n, f"4 B x P{share}"))
    rows.append(Row("activations", step.activations, f"fullest moment of a pass of {needs.images} *"))
    rows.append(Row("reserve", setup.reserve, "assumed: CUDA, NCCL, workspaces"))
    return rows


def _gathered(needs: Needs, settings: TrainSettings) -> Row:
    """What FSDP holds unsharded: the unit at work and the next, their gradients, and all that is in no unit."""
    size = _BF16 if settings.precision == "bf16" else _FP32
    rest, unit = needs.parts[0].parameters - sum(needs.units), max(needs.units, default=0)
    inside = 2 * unit if settings.reshard else sum(needs.units)
    value = (2 * _FP32 + (size if size != _FP32 else 0)) * rest + size * inside + (size + _FP32) * unit
    held = ""
    if settings.accumulate > 1:  # gradients are reduced once a step, until then they are whole
        value += _FP32 * sum(needs.units)
        held = " + 4 B x units"
    kept = "2 u" if settings.reshard else "all units"
    copies = " + 2 B" if size == _BF16 else ""
    return Row("gathered by FSDP", value, f"{size} B x {kept} + {size + _FP32} B x u + (8 B{copies}) x rest{held}")


def communication(needs: Needs, settings: TrainSettings, setup: Setup) -> list[Row]:
    """Bytes that each GPU sends (and receives) in one step."""
    n = setup.world
    part = (n - 1) / n
    if settings.parallel == "ddp":
        return [Row("all-reduce of gradients", 2 * part * needs.gradients, "2 (n - 1) / n x 4 B x T")]
    size = _BF16 if settings.precision == "bf16" else _FP32
    units = sum(needs.units)
    rest = needs.parts[0].parameters - units
    again = 2 if settings.reshard else 1
    gathers = part * settings.accumulate * (again * size * units + _FP32 * rest)
    formula = f"(n - 1) / n x ({again} x {size} B x units + 4 B x rest)"
    if settings.accumulate > 1:
        formula += f" x {settings.accumulate} passes"
    return [
        Row("all-gather of weights", gathers, formula),
        Row("reduce-scatter of gradients", part * needs.gradients, "(n - 1) / n x 4 B x T"),
    ]


def step_times(needs: Needs, settings: TrainSettings, setup: Setup) -> list[Row]:
    """Seconds of a step as configured: computing, communicating, and both where they overlap (last)."""
    speed = setup.peak(settings.precision) * setup.utilization
    passes, step = settings.accumulate, needs.chosen
    forward, backward = step.forward / speed, step.backward / speed
    sent = sum(row.value for row in communication(needs, settings, setup)) / setup.bandwidth
    if settings.parallel == "ddp":
        whole = passes * (forward + backward) + max(0.0, sent - backward)
        formula = "forward + max(backward, communication)"
    else:
        whole = max(passes * (forward + backward), sent)
        formula = "max(computing, communication)"
    where = "network" if setup.nodes > 1 else "link"
    return [
        Row("computing", passes * (forward + backward), "FLOPs / (peak x MFU)"),
        Row("communicating", sent, f"bytes / {where} bandwidth"),
        Row("step", whole, formula),
    ]


def dataset_size(cfg: DictConfig) -> int | None:
    """Number of training images, None if their files are not here."""
    sources = OmegaConf.select(cfg, "dataloader.train.sources") or {"": OmegaConf.select(cfg, "dataloader.train")}
    try:
        return sum(len(instantiate(source.dataset)) for source in sources.values())
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Plan:
    """A config on a cluster.

    Attributes:
        needs: of the model.
        settings: of the run.
        setup: of the cluster.
        batch_size: images of a step, over all processes.
        size: height and width of the padded batch.
        images: of the training set, None if unknown.
        steps: optimiser steps of the run.
    """

    needs: Needs
    settings: TrainSettings
    setup: Setup
    batch_size: int
    size: tuple[int, int]
    images: int | None
    steps: int


def make_plan(
    cfg: DictConfig, setup: Setup, size: tuple[int, int] | None = None, objects: int = 100, images: int | None = None
) -> Plan:
    """Plan the run that a config describes; neither data nor weights have to be here.

    Args:
        cfg: as for training.
        setup: the cluster.
        size: height and width of the padded batch in pixels; None takes ``data.image_size`` or ``model.square_size``.
        objects: in each image; a crowded image fills the quotas of a detector's losses.
        images: of the training set; None counts them if the files are here.

    Raises:
        ValueError: if the processes cannot share the batch, or size or length of the run cannot be told.
    """
    settings: TrainSettings = instantiate(cfg.train)
    setup.peak(settings.precision)
    batch_size = int(cfg.dataloader.train.batch_size)
    if size is None:
        side = OmegaConf.select(cfg, "data.image_size") or OmegaConf.select(cfg, "model.square_size")
        if side is None:
            raise ValueError("the config has neither data.image_size nor model.square_size: give --size")
        size = (int(side), int(side))
    images = images or dataset_size(cfg)
    if images is None and settings.steps is None:
        raise ValueError("train.epochs needs the number of training images, whose files are not here: give --images")
    share = images_per_pass(batch_size, setup.world, settings.accumulate)
    needs = measure(cfg, settings, share, size, objects)
    steps = settings.total_steps((images or batch_size) / batch_size)
    return Plan(needs, settings, setup, batch_size, size, images, steps)
