"""Learning-rate schedules: recipes that become a multiplier per optimiser step once the length of the run is known."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fvcore.common.param_scheduler import CosineParamScheduler

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

    The cosine runs over the whole length, the warm-up included (detectron2's convention).

    Attributes:
        warmup_steps: steps until the cosine is reached; need not be whole.
        final_factor: multiplier at the end of the run.
        warmup_factor: multiplier of the very first step.

    Raises:
        ValueError: for a value outside its range, naming it.
    """

    warmup_steps: float = 0.0
    final_factor: float = 0.0
    warmup_factor: float = 0.001

    def __post_init__(self) -> None:
        if not 0 <= self.final_factor <= 1:
            raise ValueError(f"lr_schedule.final_factor must lie in [0, 1], it is {self.final_factor}")
        _check_warmup(self.warmup_steps, self.warmup_factor)

    def __call__(self, total_steps: int, steps_per_epoch: float) -> Multiplier:
        """The multiplier of a run of this length."""
        cosine = CosineParamScheduler(1.0, self.final_factor)
        after = lambda step: cosine(min(1.0, step / total_steps))
        return _with_warmup(after, self.warmup_steps, self.warmup_factor, total_steps)


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


def _check_warmup(steps: float, factor: float) -> None:
    if steps < 0:
        raise ValueError(f"lr_schedule.warmup_steps must be 0 or more, it is {steps}")
    if not 0 <= factor <= 1:
        raise ValueError(f"lr_schedule.warmup_factor must lie in [0, 1], it is {factor}")
