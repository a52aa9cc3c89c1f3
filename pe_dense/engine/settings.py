"""How a run goes: everything that is neither the model, the data, the optimiser nor the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pe_dense.engine.distributed import local_rank
from pe_dense.structures.wording import counted


@dataclass
class RunSettings:
    """Settings that every run has; one that trains nothing, such as a probe of tracking, needs no others.

    Attributes:
        output_dir: run directory (config.yaml, metrics.jsonl, log.txt, checkpoints/, inference/).
        seed: seed of weights, dropout and the order of the data.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        precision: "fp32", or "bf16" (autocast; the weights stay fp32).
        init_from: a checkpoint whose weights (EMA when it has them) start this new run.
        init_skip: parameters that ``init_from`` leaves at their random values, because they have another shape here
            (other classes): beginnings of names, or patterns with ``*`` and ``?``.
        deterministic: ask PyTorch for deterministic kernels on the GPU; on the CPU they always are.
        num_threads: CPU threads of each process; None = PyTorch's choice.
        overwrite: a new run may delete an earlier run in ``output_dir``, as soon as it has taken a step itself; a probe
            of tracking, as soon as its encoder and the videos are found.

    Raises:
        ValueError: for a value outside its range, naming the key.
    """

    output_dir: str
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    init_from: str | None = None
    init_skip: Sequence[str] = ()
    deterministic: bool = False
    num_threads: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f'train.precision must be "fp32" or "bf16", it is "{self.precision}"')
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(f"train.num_threads must be at least 1, it is {self.num_threads}")
        if self.init_skip and self.init_from is None:
            raise ValueError("train.init_skip names parameters that train.init_from leaves out: set train.init_from")

    def torch_device(self) -> torch.device:
        """The device of this process.

        Raises:
            ValueError: if the device is not one of PyTorch's or this machine does not have it.
        """
        return pick_device(self.device, "train.device")


@dataclass
class TrainSettings(RunSettings):
    """Settings of one training. Exactly one of ``epochs`` and ``steps`` is set.

    Attributes:
        epochs: length in passes over the training set; a step is one batch of the train loader.
        steps: length in optimiser steps.
        accumulate: a batch is worked off in this many parts, one after another; the result is the mean over the
            batch, so that a batch of 64 stays one whatever the memory of the device.
        clip_norm: largest L2 norm of all gradients together (in a layer probe: of each layer's); None = no clipping.
        ema_decay: decay per step of the moving average of the weights, e.g. 0.9998; None = no average. When on, the
            averaged weights are the ones evaluated.
        eval_period: epochs between evaluations; 0 = only at the end.
        eval_steps: optimiser steps between evaluations, instead of ``eval_period``.
        checkpoint_period: epochs between checkpoints; 0 = only at the end.
        checkpoint_steps: optimiser steps between checkpoints, instead of ``checkpoint_period``.
        keep_last: how many of the newest checkpoints stay; ``best.safetensors`` is not counted.
        best_metric: result of the evaluator (higher is better) that decides about ``best.safetensors``; None writes
            none.
        log_period: steps between log lines.
        parallel: how several processes share the work: "ddp" (a whole model in each) or "fsdp" (each holds a part of
            the weights, gradients and optimiser state; with bf16 the weights travel in bf16).
        reshard: with "fsdp", free a block's gathered weights between forward and backward (less memory, more
            traffic).
        async_checkpoint: write checkpoints behind the training; the tensors are copied to the host first.
        compile: ``torch.compile`` the backbone (the whole model when it has none); heads have data-dependent shapes.
            With "fsdp" each block is compiled.

    Raises:
        ValueError: for a value outside its range, naming the key.
    """

    epochs: float | None = None
    steps: int | None = None
    accumulate: int = 1
    clip_norm: float | None = None
    ema_decay: float | None = None
    eval_period: float = 0.0
    eval_steps: int | None = None
    checkpoint_period: float = 1.0
    checkpoint_steps: int | None = None
    keep_last: int = 2
    best_metric: str | None = "bbox/AP"
    log_period: int = 20
    parallel: str = "ddp"
    reshard: bool = True
    async_checkpoint: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"set exactly one of train.epochs and train.steps, they are {self.epochs} and {self.steps}: "
                "set the other to null (train.epochs=null)"
            )
        super().__post_init__()
        if self.parallel not in ("ddp", "fsdp"):
            raise ValueError(f'train.parallel must be "ddp" or "fsdp", it is "{self.parallel}"')
        for key in ("epochs", "clip_norm"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"train.{key} must be greater than 0, it is {value}")
        for key in ("steps", "accumulate", "keep_last", "log_period", "eval_steps", "checkpoint_steps"):
            value = getattr(self, key)
            if value is not None and value < 1:
                period = key.replace("_steps", "_period")
                remedy = f"; for only at the end set it to null and train.{period} to 0" if period != key else ""
                raise ValueError(f"train.{key} must be at least 1, it is {value}{remedy}")
        for key in ("eval_period", "checkpoint_period"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"train.{key} must be 0 (only at the end) or more, it is {getattr(self, key)}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"train.ema_decay must lie between 0 and 1, it is {self.ema_decay}; null turns it off")

    def total_steps(self, steps_per_epoch: float) -> int:
        """Optimiser steps of the whole run, at least one."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * steps_per_epoch))

    def steps_between_evaluations(self, steps_per_epoch: float) -> float:
        """0 = only at the end."""
        return self.eval_steps or self.eval_period * steps_per_epoch

    def steps_between_checkpoints(self, steps_per_epoch: float) -> float:
        """0 = only at the end."""
        return self.checkpoint_steps or self.checkpoint_period * steps_per_epoch


def pick_device(name: str, key: str = "device") -> torch.device:
    """``torch.device`` of this process for "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: if the device is not one of PyTorch's or this machine does not have it, naming ``key``.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'{key} "{name}" is not a device: use "auto", "cpu", "cuda" or "cuda:N"') from error
    if device.type != "cuda":
        return device
    index = local_rank() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        found = counted(torch.cuda.device_count(), "GPU")
        raise ValueError(
            f'{key} "{name}" asks for GPU {index} but PyTorch finds {found} on this machine: '
            f'use "cpu", or start fewer processes'
        )
    return torch.device("cuda", index)
