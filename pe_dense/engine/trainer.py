"""The training loop."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_

from pe_dense.engine import distributed as dist
from pe_dense.engine.ema import Ema
from pe_dense.engine.heartbeat import HeartbeatWriter
from pe_dense.engine.hooks import CheckpointHook, Hook, named_hooks
from pe_dense.engine.interrupt import RunInterrupted, StopSignal
from pe_dense.engine.optim import optimizer_tensors
from pe_dense.engine.parallel import gather_weights, gradient_norm, is_sharded, replicate
from pe_dense.engine.replay import NonFiniteLossError, image_ids, save_replay
from pe_dense.engine.rng import RngState, get_rng_state, rng_shield
from pe_dense.engine.run_log import RunWriter
from pe_dense.engine.settings import TrainSettings
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

Sample = dict[str, Any]


class TrainLoader(Protocol):
    """An endless, addressable stream of batches."""

    dataset: Any
    batch_size: int

    @property
    def steps_per_epoch(self) -> float:
        """Images divided by the global batch."""
        ...

    def iterate(self, start: int) -> Iterator[list[Sample]]:
        """Batch number ``start``, then the next, without end."""
        ...


class Trainer:
    """Everything a run holds, and its loop.

    Args:
        settings: how to train.
        model: on ``device``; in training mode ``model(batch) -> dict[str, Tensor]`` of scalar losses, which are means
            over images, or, if it has ``loss_shares(pieces)``, become those of a whole batch by the factors it returns.
        optimizer: its groups' learning rates are those at multiplier 1.
        multiplier: steps already taken -> factor on every learning rate.
        loader: the training data; a batch of it is one optimiser step.
        device: of this process.
        ema: moving average of the weights, if any.
        writer: metrics of the run; None in all processes but the main one.
        hooks: see :class:`Hook`; called in this order.
        facts: what every checkpoint carries besides the state (config, categories, data).

    Attributes:
        step: optimiser steps already taken.
        values: loss terms, gradient norm and times of the last step.
        results: of the newest evaluation.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        multiplier: Callable[[int], float],
        loader: TrainLoader,
        device: torch.device,
        ema: Ema | None = None,
        writer: RunWriter | None = None,
        hooks: Sequence[Hook] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings, self.model, self.optimizer, self.multiplier = settings, model, optimizer, multiplier
        self.loader, self.device, self.ema, self.writer = loader, device, ema, writer
        self.hooks, self.facts = list(hooks), dict(facts or {})
        self.parallel = model if is_sharded(model) else replicate(model, device, settings.accumulate == 1)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.step = 0
        self.total_steps = settings.total_steps(loader.steps_per_epoch)
        self.checkpoint_dir = Path(settings.output_dir) / "checkpoints"
        self.stop = StopSignal()
        self.cut_short = False  # an evaluation ended early, in all processes
        self.heartbeat = HeartbeatWriter(settings.output_dir, self.total_steps)
        self.values: dict[str, float] = {}
        self.results: dict[str, float] = {}
        self.loss_names: list[str] = []

    @property
    def epoch(self) -> float:
        """Passes over the training set so far."""
        return self.step / self.loader.steps_per_epoch

    @property
    def lr(self) -> float:
        """Learning rate of the last step: the highest of all groups."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def run(self) -> None:
        """Train from :attr:`step` to the end.

        Raises:
            NonFiniteLossError: before the weights are updated with it.
            RunInterrupted: after SIGINT, SIGTERM or SIGUSR2, with a checkpoint saved.
        """
        self.model.train()
        try:
            self._loop()
        except RunInterrupted:
            self.heartbeat("stopped", self.step)
            raise
        except BaseException as error:
            self.heartbeat("failed", self.step)
            if dist.world_size() > 1:
                who = f"process {dist.rank()} of {dist.world_size()} on {socket.gethostname()}"
                logger.error("%s failed after step %d: %s: %s", who, self.step, type(error).__name__, error)
            raise
        self.heartbeat("done", self.step)

    def _loop(self) -> None:
        with self.stop, ExitStack() as ending:
            for hook in reversed(self.hooks):  # all of them are called, in order, even if one of them fails
                ending.callback(hook.after_train, self)
            for hook in self.hooks:
                hook.before_train(self)
            if self.cut_short:
                self._interrupted(0)
            batches = self.loader.iterate(self.step)
            # lets its workers go: a process that ends by an error would wait for them
            ending.callback(getattr(batches, "close", lambda: None))
            while self.step < self.total_steps:
                started = time.perf_counter()
                with rng_shield(cuda=False):  # how the data is loaded must not change dropout
                    batch = [to_device(sample, self.device) for sample in next(batches)]
                data_time = time.perf_counter() - started
                stop = self.train_step(batch)
                self.values["data_time"] = data_time
                self.values["step_time"] = time.perf_counter() - started
                self.heartbeat("training", self.step, self.values["step_time"])
                for hook in self.hooks:
                    hook.after_step(self)
                if stop or self.cut_short or (self.stop.received and dist.world_size() == 1):
                    self._interrupted(stop)

    def train_step(self, batch: list[Sample]) -> int:
        """One optimiser step on ``batch``; returns the number of a signal any process received, or 0."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.multiplier(self.step)
        rng = get_rng_state()
        losses = self._backward(batch)
        norm = gradient_norm(self.parameters)
        numbers = torch.stack([*losses.values(), norm.to(self.device)]).tolist()  # the step's only host sync
        terms = dict(zip(losses, numbers))
        self.values = {"loss": sum(terms.values()), **terms, "grad_norm": numbers[-1]}
        self.loss_names = ["loss", *terms]
        unhealthy = not all(math.isfinite(number) for number in numbers)
        unhealthy_anywhere, stop = dist.max_over_processes([float(unhealthy), float(self.stop.received)])
        if unhealthy_anywhere:
            self._stop_non_finite(batch, rng)
        if self.settings.clip_norm is not None:
            self._clip(self.settings.clip_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return int(stop)

    def _clip(self, limit: float, norm: Tensor) -> None:
        """Shorten the gradient, whose norm this is, or those of the parts that a model says are independent."""
        parts: Callable[[], list[nn.Module]] | None = getattr(self.model, "separate_parts", None)
        if parts is None:
            clip_grads_with_norm_(self.parameters, limit, norm)
            return
        for part in parts():
            own = list(part.parameters())
            clip_grads_with_norm_(own, limit, gradient_norm(own))

    def _backward(self, batch: list[Sample]) -> dict[str, Tensor]:
        """Gradients of the mean loss over the batch, worked off in ``accumulate`` parts; detached loss terms."""
        parts = self.settings.accumulate
        if parts > len(batch):
            raise ValueError(
                f"train.accumulate is {parts} but this process has only {counted(len(batch), 'image')} per step: "
                f"lower it or raise dataloader.train.batch_size"
            )
        bounds = [len(batch) * i // parts for i in range(parts + 1)]
        pieces = [batch[first:last] for first, last in pairwise(bounds)]
        means: dict[str, Tensor] = {}
        for number, (piece, share) in enumerate(zip(pieces, self._shares(pieces)), 1):
            with self._sync_gradients(number == parts):
                with autocast(self.device, self.settings.precision):
                    losses: dict[str, Tensor] = self.parallel(piece)
                (torch.stack(list(losses.values())).sum() * share).backward()
            for name, loss in losses.items():
                part = loss.detach().float() * share
                means[name] = means[name] + part if name in means else part
        return means

    def _shares(self, pieces: Sequence[list[Sample]]) -> Sequence[float | Tensor]:
        """Factor on the losses of each piece of this process's share of a batch: by images, or as the model says."""
        shares: Callable[[Sequence[list[Sample]]], Sequence[Tensor]] | None = getattr(self.model, "loss_shares", None)
        if shares is not None:
            return shares(pieces)
        # gradients are averaged over processes, whose shares of the batch may differ by an image
        return [len(piece) * dist.world_size() / self.loader.batch_size for piece in pieces]

    def _sync_gradients(self, now: bool) -> AbstractContextManager[None]:
        """Between processes, gradients are averaged only once per step."""
        if isinstance(self.parallel, FSDPModule):
            self.parallel.set_requires_gradient_sync(now)
        if isinstance(self.parallel, DistributedDataParallel) and not now:
            return self.parallel.no_sync()
        return nullcontext()

    def _stop_non_finite(self, batch: list[Sample], rng: RngState) -> None:
        report = None
        # the averaged gradient is bad in every process: the loss, if it is bad too, tells in which one it began
        innocent = dist.gather_objects(math.isfinite(self.values["loss"]))
        weights: Mapping[str, Tensor] = self.model.state_dict()
        if is_sharded(self.model):  # the main process alone can hold all of them
            weights = gather_weights(weights)
        if not innocent[dist.rank()] or all(innocent) or (is_sharded(self.model) and dist.is_main()):
            path = Path(self.settings.output_dir) / f"nonfinite_step_{self.step + 1:08d}_rank{dist.rank()}.pt"
            save_replay(path, self.step + 1, batch, rng, weights)
            terms = ", ".join(f"{k} = {v:g}" for k, v in self.values.items())
            report = (
                f"the loss or gradient of step {self.step + 1} is not finite ({terms}; images {image_ids(batch)}); "
                f"the batch, weights and random state are in {path}: look at these images, lower optimizer.lr, "
                f"or set train.clip_norm"
            )
        raise NonFiniteLossError(next(text for text in dist.gather_objects(report) if text is not None))

    def _interrupted(self, number: int) -> None:
        saver = next((hook for hook in self.hooks if isinstance(hook, CheckpointHook)), None)
        if saver is not None:
            saver.save(self)
            saver.wait()
        number = number or int(dist.max_over_processes([float(self.stop.received)])[0])
        message = f"stopped after step {self.step} of {self.total_steps}; continue with --resume"
        if dist.is_main():
            logger.warning("%s", message)
        raise RunInterrupted(number, message)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their average and the optimiser's averages by name; sharded where the model is."""
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.ema is not None:
            found.update({f"ema.{name}": value for name, value in self.ema.state_dict().items()})
        return found | optimizer_tensors(self.model, self.optimizer)

    def own_state(self) -> dict[str, Any]:
        """What an exact continuation needs of this process alone."""
        return {
            "rng": get_rng_state(),
            "hooks": {name: hook.state_dict() for name, hook in named_hooks(self.hooks).items()},
        }


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bf16 autocast, or nothing for "fp32"."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def to_device(sample: Sample, device: torch.device) -> Sample:
    """A shallow copy whose tensors and :class:`Instances` are on ``device``."""
    return {k: v.to(device, non_blocking=True) if hasattr(v, "to") else v for k, v in sample.items()}
