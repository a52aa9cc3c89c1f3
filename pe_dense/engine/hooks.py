"""What happens around the training loop: averaging, logging, checkpoints, evaluation."""

from __future__ import annotations

import datetime
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pe_dense.engine import distributed as dist
from pe_dense.engine.checkpoint import BEST, Checkpoint, save_checkpoint
from pe_dense.engine.ema import Ema
from pe_dense.engine.parallel import gather_weights
from pe_dense.engine.run_log import memory_mb, terminal
from pe_dense.engine.sharded import CheckpointWriter, step_path
from pe_dense.evaluation import format_results, is_per_class

if TYPE_CHECKING:
    from pe_dense.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class Hook:
    """Something that happens around the training loop. All methods are optional; every process calls them.

    A run takes hooks of one's own from the config, ``hooks = [L(MyHook)(...)]``, or from ``train(cfg, hooks=[...])``.
    They are called before the run's own ones (moving average, log, checkpoint, evaluation), in the order they are
    listed. What they may use of the trainer:

    - ``trainer.step``, ``trainer.epoch``, ``trainer.total_steps``, ``trainer.lr``, ``trainer.settings``;
    - ``trainer.values``: the numbers of this step (``loss``, its terms, ``grad_norm``, times); one that a hook adds in
      every step, in every process, is averaged and logged with them;
    - ``trainer.results``: of the newest evaluation, by name such as "bbox/AP";
    - ``trainer.model``, ``trainer.optimizer``, ``trainer.ema`` and ``trainer.writer`` (None but in the main process).

    A hook that is in the config is a part of the run: it cannot be changed when the run is resumed.
    """

    def before_train(self, trainer: Trainer) -> None:
        """Before the first step; ``trainer.step`` is the number of steps already taken."""

    def after_step(self, trainer: Trainer) -> None:
        """After optimiser step number ``trainer.step`` (1 = the first)."""

    def after_train(self, trainer: Trainer) -> None:
        """After the last step, and when the loop ends by an error or a signal."""

    def state_dict(self) -> dict[str, Any]:
        """What an exact continuation needs: numbers, strings, tensors, and lists and dicts of them.

        It is asked for before :meth:`before_train`, too.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""


def named_hooks(hooks: Sequence[Hook]) -> dict[str, Hook]:
    """The hooks by the names of their states in a checkpoint: the class, with a number from the second of it on."""
    named: dict[str, Hook] = {}
    for hook in hooks:
        kind = type(hook).__name__
        same = sum(type(other).__name__ == kind for other in named.values())
        named[f"{kind}.{same + 1}" if same else kind] = hook
    return named


def is_due(step: int, period: float, total_steps: int) -> bool:
    """True at the last step and at the first step not before each multiple of ``period`` steps (0 = last only)."""
    if step >= total_steps:
        return True
    passed = [math.floor(s / period + 1e-9) if period > 0 else 0 for s in (step - 1, step)]
    return passed[1] > passed[0]


class EmaHook(Hook):
    """Updates the moving average after every step."""

    def __init__(self, ema: Ema) -> None:
        self.ema = ema

    def after_step(self, trainer: Trainer) -> None:
        self.ema.update(trainer.step)


class LogHook(Hook):
    """Every ``period`` steps: a line on the console, in metrics.jsonl and TensorBoard: means since the last one.

    The first step of this process has a line on the console too, so that speed and memory are known at once.
    """

    def __init__(self, period: int) -> None:
        self.period = period
        self.sums: dict[str, float] = {}
        self.count = 0
        self._first = True
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def before_train(self, trainer: Trainer) -> None:
        if trainer.writer is not None and terminal().is_terminal:
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
            self._progress = Progress(*columns, console=terminal(), transient=True)
            self._task = self._progress.add_task("training", total=trainer.total_steps, completed=trainer.step)
            self._progress.start()

    def after_step(self, trainer: Trainer) -> None:
        self.count += 1
        for name, value in trainer.values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if self._progress is not None:
            self._progress.update(self._task, completed=trainer.step)
        first, self._first = self._first, False
        if not is_due(trainer.step, self.period, trainer.total_steps):
            if first and trainer.writer is not None:
                numbers = {**trainer.values, "lr": trainer.lr, "memory_mb": memory_mb(trainer.device)}
                logger.info("%s  (the first step is slower)", _console_line(trainer, numbers))
            return
        names = list(self.sums)
        means = dist.mean_over_processes([self.sums[name] / self.count for name in names])
        line = {**dict(zip(names, means)), "lr": trainer.lr, "memory_mb": memory_mb(trainer.device)}
        self.sums, self.count = {}, 0
        if trainer.writer is not None:
            trainer.writer.write(trainer.step, trainer.epoch, line)
            left = datetime.timedelta(seconds=round(line["step_time"] * (trainer.total_steps - trainer.step)))
            logger.info("%s  ETA %s", _console_line(trainer, line), left)

    def after_train(self, trainer: Trainer) -> None:
        if self._progress is not None:
            self._progress.stop()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.count = dict(state["sums"]), state["count"]


def _console_line(trainer: Trainer, line: Mapping[str, float]) -> str:
    terms = "  ".join(f"{k.replace('loss_', '')} {line[k]:.3g}" for k in trainer.loss_names if k != "loss")
    return (
        f"step {trainer.step}/{trainer.total_steps}  epoch {trainer.epoch:.2f}  loss {line['loss']:.4g} ({terms})  "
        f"lr {line['lr']:.3g}  grad {line['grad_norm']:.3g}  {line['step_time']:.3f} s/it  "
        f"data {line['data_time']:.3f} s  {line['memory_mb']:.0f} MB"
    )


class CheckpointHook(Hook):
    """Writes ``checkpoints/step_*`` every ``period`` steps and keeps the newest ``keep_last``.

    Args:
        period: steps between checkpoints; 0 = only at the end.
        keep_last: how many stay.
        background: write behind the training.
    """

    def __init__(self, period: float, keep_last: int, background: bool = False) -> None:
        self.period = period
        self.keep_last = keep_last
        self.background = background
        self._writer: CheckpointWriter | None = None

    def before_train(self, trainer: Trainer) -> None:
        self._writer = CheckpointWriter(trainer.checkpoint_dir, self.keep_last, self.background)

    def after_step(self, trainer: Trainer) -> None:
        if is_due(trainer.step, self.period, trainer.total_steps):
            self.save(trainer)

    def after_train(self, trainer: Trainer) -> None:
        self.wait()

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint of the present step unless it is already there. Called by every process."""
        assert self._writer is not None
        trainer.heartbeat("saving", trainer.step)
        facts = {"step": trainer.step, **trainer.facts}
        written = self._writer.save(trainer.step, trainer.tensors(), trainer.own_state(), facts)
        if written and dist.is_main():
            logger.info("checkpoint %s", step_path(trainer.checkpoint_dir, trainer.step))

    def wait(self) -> None:
        """Until nothing is being written in the background."""
        if self._writer is not None:
            self._writer.wait()


class EvalHook(Hook):
    """Evaluates every ``period`` steps and at the end, and keeps the best weights in ``best.safetensors``.

    Args:
        evaluate: evaluates the trainer's present weights and returns flat results, or None if a signal cut it short.
        period: steps between evaluations; 0 = only at the end.
        best_metric: key of the results that decides; None keeps none.
    """

    def __init__(
        self, evaluate: Callable[[Trainer], dict[str, float] | None], period: float, best_metric: str | None
    ) -> None:
        self.evaluate = evaluate
        self.period = period
        self.best_metric = best_metric
        self.best = -math.inf

    def before_train(self, trainer: Trainer) -> None:
        done = dist.broadcast_object(trainer.writer.evaluations() if trainer.writer is not None else {})
        for results in done.values():
            trainer.results = results
            self.best = max(self.best, _rankable(results.get(self.best_metric or "")))
        if trainer.step and trainer.step not in done:
            self.after_step(trainer)  # the run ended between this step's checkpoint and its evaluation

    def after_step(self, trainer: Trainer) -> None:
        if not is_due(trainer.step, self.period, trainer.total_steps):
            return
        trainer.heartbeat("evaluating", trainer.step)
        results = self.evaluate(trainer)
        if results is None:
            trainer.cut_short = True  # at once, so that a resumed run makes up for this evaluation
            return
        trainer.results = results
        if trainer.writer is not None:
            trainer.writer.write(trainer.step, trainer.epoch, results)
            last = trainer.step >= trainer.total_steps
            shown = {k: v for k, v in results.items() if last or not (is_per_class(k) or "/AR" in k)}
            logger.info("evaluation at step %d:\n%s", trainer.step, format_results(shown))
        self._keep_best(trainer, results)

    def _keep_best(self, trainer: Trainer, results: Mapping[str, float]) -> None:
        if self.best_metric is None:
            return
        if self.best_metric not in results:
            logger.warning(
                'train.best_metric "%s" is not among the results (%s): %s is not written',
                self.best_metric, ", ".join(k for k in results if not is_per_class(k)), BEST,
            )  # fmt: skip
        value = _rankable(results.get(self.best_metric))
        if value <= self.best:
            return
        self.best = value
        weights = gather_weights(trainer.model.state_dict() if trainer.ema is None else trainer.ema.state_dict())
        if dist.is_main():
            facts = trainer.facts
            save_checkpoint(
                Checkpoint(
                    trainer.checkpoint_dir / BEST,
                    weights,
                    trainer.step,
                    facts["config"],
                    facts["categories"],
                    results,
                    facts.get("pixel_classes"),
                )
            )
            logger.info("best so far: %s %.3f", self.best_metric, value)
        dist.barrier()


def _rankable(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value
