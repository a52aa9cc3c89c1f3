"""Learning-rate schedules: recipes that become a multiplier per optimiser step once the length of the run is known."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fvcore.common.param_scheduler import CosineParamScheduler

from pe_dense.engine.hooks import Hook

if TYPE_CHECKING:
    from pe_dense.engine.trainer import Trainer

logger = logging.getLogger(__name__)

Multiplier = Callable[[int], float]
"""Number of steps already taken -> factor on every group's learning rate for the next one."""


@dataclass
class MultiStepSchedule:
    """Piecewise constant with a linear warm-up (detectron2's ``WarmupParamScheduler(MultiStepParamScheduler)``).

    A milestone takes effect at the first step that is not before it. The released ViTDet recipes are
    ``milestones=[59000, 63916], unit="steps", warmup_steps=90`` (36 epochs) and
    ``[122916, 133159], "steps", 187.4997`` (75 epochs; 250 warm-up steps shrunk by 138281 / 184375).

    Attributes:
        milestones: where the rate drops, ascending, in ``unit``.
        gamma: factor at each milestone.
        unit: "epochs", "steps" or "fraction" (of the whole run).
        warmup_steps: steps until the full rate; need not be whole.
        warmup_factor: multiplier of the very first step.

    Raises:
        ValueError: for a value outside its range, naming it.
    """

    milestones: Sequence[float] = ()
    gamma: float = 0.1
    unit: str = "epochs"
    warmup_steps: float = 0.0
    warmup_factor: float = 0.001

    def __post_init__(self) -> None:
        self.milestones = [float(m) for m in self.milestones]
        if self.milestones != sorted(set(self.milestones)) or any(m <= 0 for m in self.milestones):
            raise ValueError(f"lr_schedule.milestones must be positive and ascending, they are {self.milestones}")
        if self.unit not in ("epochs", "steps", "fraction"):
            raise ValueError(f'lr_schedule.unit must be "epochs", "steps" or "fraction", it is "{self.unit}"')
        _check_warmup(self.warmup_steps, self.warmup_factor)

    def __call__(self, total_steps: int, steps_per_epoch: float) -> Multiplier:
        """The multiplier of a run of this length."""
        size = {"epochs": steps_per_epoch, "steps": 1.0, "fraction": float(total_steps)}[self.unit]
        # a product such as 0.1 * 30 must not land a hair after the whole step that is meant
        drops = [m * size - 1e-6 for m in self.milestones]
        if drops and drops[-1] >= total_steps:
            logger.warning(
                "lr_schedule: milestone %g (%s) lies after the run's end at step %d and has no effect",
                self.milestones[-1], self.unit, total_steps,
            )  # fmt: skip
        after = lambda step: self.gamma ** bisect_right(drops, step)
        return _with_warmup(after, self.warmup_steps, self.warmup_factor, total_steps)


@dataclass
class CosineSchedule:
    """Half a cosine from 1 down to ``final_factor`` at the end of the run, after a linear warm-up.

    The cosine runs over the whole length, the warm-up included. DINOv2's depth recipes (arXiv 2304.07193, section 7.4)
    are ``warmup_steps=12800, final_factor=1e-8, warmup="product"`` in 38400 steps: their rate never gets above 3/4.

    Attributes:
        warmup_steps: steps until the cosine is reached; need not be whole.
        final_factor: multiplier at the end of the run.
        warmup_factor: multiplier of the very first step.
        warmup: "line": straight up to the cosine's value at its end (detectron2); "product": the cosine times a
            factor that rises linearly to 1 (mmcv).

    Raises:
        ValueError: for a value outside its range, naming it.
    """

    warmup_steps: float = 0.0
    final_factor: float = 0.0
    warmup_factor: float = 0.001
    warmup: Literal["line", "product"] = "line"

    def __post_init__(self) -> None:
        _check_final(self.final_factor)
        _check_warmup(self.warmup_steps, self.warmup_factor)
        _check_choice("warmup", self.warmup, ("line", "product"))

    def __call__(self, total_steps: int, steps_per_epoch: float) -> Multiplier:
        """The multiplier of a run of this length."""
        cosine = CosineParamScheduler(1.0, self.final_factor)
        after = lambda step: float(cosine(min(1.0, step / total_steps)))
        if self.warmup == "product":
            return lambda step: after(step) * _rising(step, self.warmup_steps, self.warmup_factor)
        return _with_warmup(after, self.warmup_steps, self.warmup_factor, total_steps)


@dataclass
class PolySchedule:
    """``(1 - step / total) ** power``, times a factor that rises linearly to 1 during the warm-up (mmcv).

    The linear segmentation protocols (ADE20K, VOC) of DINOv2 are ``warmup_steps=1500`` in 40000 steps.

    Attributes:
        power: 1 is a straight line.
        warmup_steps: steps until the factor is 1; need not be whole.
        final_factor: multiplier at the end of the run.
        warmup_factor: multiplier of the very first step.

    Raises:
        ValueError: for a value outside its range, naming it.
    """

    power: float = 1.0
    warmup_steps: float = 0.0
    final_factor: float = 0.0
    warmup_factor: float = 1e-6

    def __post_init__(self) -> None:
        if self.power <= 0:
            raise ValueError(f"lr_schedule.power must be positive, it is {self.power}")
        _check_final(self.final_factor)
        _check_warmup(self.warmup_steps, self.warmup_factor)

    def __call__(self, total_steps: int, steps_per_epoch: float) -> Multiplier:
        """The multiplier of a run of this length."""

        def multiplier(step: int) -> float:
            left = max(0.0, 1 - step / total_steps) ** self.power
            falling = self.final_factor + (1 - self.final_factor) * left
            return falling * _rising(step, self.warmup_steps, self.warmup_factor)

        return multiplier


@dataclass
class OneCycleSchedule:
    """The falling half of a one-cycle schedule after a warm-up: the linear protocols of DINOv3 (arXiv 2508.10104,
    appendix D), as its code computes them.

    The cosine arrives at ``final_factor`` in the very last step. During the warm-up the two protocols differ, and
    neither meets the cosine exactly.

    Attributes:
        warmup_steps: NYU depth: 12800 of 38400 steps; ADE20K: 1500 of 40000.
        final_factor: multiplier of the last step; depth: 1 / 25 / 1000, segmentation: 0.
        warmup_factor: multiplier of the very first step; depth: 1e-3, segmentation: 1e-6.
        warmup: "added" (depth): a linearly growing share of the cosine on top of ``warmup_factor``; "product"
            (segmentation): as in :class:`PolySchedule`.

    Raises:
        ValueError: for a value outside its range, naming it.
    """

    warmup_steps: float = 0.0
    final_factor: float = 4e-5
    warmup_factor: float = 1e-3
    warmup: Literal["added", "product"] = "added"

    def __post_init__(self) -> None:
        _check_final(self.final_factor)
        _check_warmup(self.warmup_steps, self.warmup_factor)
        _check_choice("warmup", self.warmup, ("added", "product"))

    def __call__(self, total_steps: int, steps_per_epoch: float) -> Multiplier:
        """The multiplier of a run of this length."""

        def multiplier(step: int) -> float:
            if step >= self.warmup_steps:
                return _half_cosine(1.0, self.final_factor, min(1.0, (step + 1) / total_steps))
            if self.warmup == "product":
                return (1 - step / total_steps) * _rising(step, self.warmup_steps, self.warmup_factor)
            share = step / self.warmup_steps
            return self.warmup_factor + share * _half_cosine(1.0, 0.0, step / total_steps)

        return multiplier


class Beta1Cycle(Hook):
    """AdamW's beta1 along with :class:`OneCycleSchedule` as in DINOv3's linear depth protocol: 0 during the warm-up,
    then half a cosine from ``low`` to ``high``. Put it into the config's ``hooks``.

    Args:
        warmup_steps: as in the schedule.
        low: beta1 when the warm-up ends.
        high: beta1 at the end of the run.
    """

    def __init__(self, warmup_steps: float, low: float = 0.85, high: float = 0.95) -> None:
        self.warmup_steps, self.low, self.high = warmup_steps, low, high

    def beta1(self, step: int, total_steps: int) -> float:
        """The value for the step after ``step`` steps."""
        if step < self.warmup_steps:
            return 0.0
        done = (step - self.warmup_steps) / max(1.0, total_steps - self.warmup_steps)
        return _half_cosine(self.low, self.high, min(1.0, done))

    def before_train(self, trainer: Trainer) -> None:
        """Raises ValueError if the optimiser has no betas."""
        if any("betas" not in group for group in trainer.optimizer.param_groups):
            raise ValueError("hooks: Beta1Cycle needs an optimizer with betas: set optimizer to AdamW, or remove it")
        self.after_step(trainer)

    def after_step(self, trainer: Trainer) -> None:
        beta1 = self.beta1(trainer.step, trainer.total_steps)
        for group in trainer.optimizer.param_groups:
            group["betas"] = (beta1, group["betas"][1])


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _rising(step: float, steps: float, factor: float) -> float:
    """A line from ``factor`` to 1 after ``steps`` steps, then 1."""
    return 1.0 if step >= steps else 1 - (1 - step / steps) * (1 - factor)


def _with_warmup(after: Callable[[float], float], steps: float, factor: float, total_steps: int) -> Multiplier:
    """A straight line from ``factor * after(0)`` to ``after(steps)``, then ``after``."""
    # in a run that ends during the warm-up (a trial of a few steps) the line still has to rise
    goal = after(steps if steps < total_steps else 0)

    def multiplier(step: int) -> float:
        if step >= steps:
            return float(after(step))
        done = step / steps
        return float(factor * after(0) * (1 - done) + goal * done)

    return multiplier


def _check_final(factor: float) -> None:
    if not 0 <= factor <= 1:
        raise ValueError(f"lr_schedule.final_factor must lie in [0, 1], it is {factor}")


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f'lr_schedule.{name} must be one of {", ".join(known)}, it is "{value}"')


def _check_warmup(steps: float, factor: float) -> None:
    if steps < 0:
        raise ValueError(f"lr_schedule.warmup_steps must be 0 or more, it is {steps}")
    if not 0 <= factor <= 1:
        raise ValueError(f"lr_schedule.warmup_factor must lie in [0, 1], it is {factor}")
