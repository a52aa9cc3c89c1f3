"""Learning-rate schedules, against the released recipes' own curves."""

import math
from pathlib import Path

import numpy as np
import pytest

from pe_dense.engine.schedules import CosineSchedule, MultiStepSchedule


@pytest.mark.parametrize(
    ("name", "total", "milestones", "warmup"),
    [("coco36", 66375, [59000, 63916], 90), ("coco75", 138281, [122916, 133159], 250 * 138281 / 184375)],
)
def test_released_recipes(fixtures: Path, name: str, total: int, milestones: list[float], warmup: float) -> None:
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    schedule = MultiStepSchedule(milestones, unit="steps", warmup_steps=warmup)(total, steps_per_epoch=1843.75)
    ours = [schedule(int(step)) for step in data[f"lr.{name}.iters"]]
    np.testing.assert_allclose(ours, data[f"lr.{name}.mult"], rtol=0, atol=1e-12)


def test_milestones_in_epochs_and_fractions_are_the_same_steps() -> None:
    epochs = MultiStepSchedule([8, 11])(total_steps=120, steps_per_epoch=10.0)
    fraction = MultiStepSchedule([8 / 12, 11 / 12], unit="fraction")(120, 10.0)
    for step, factor in [(0, 1), (79, 1), (80, 0.1), (109, 0.1), (110, 0.01), (119, 0.01)]:
        assert epochs(step) == fraction(step) == pytest.approx(factor)


def test_milestone_between_two_steps_takes_effect_at_the_next() -> None:
    schedule = MultiStepSchedule([1])(total_steps=30, steps_per_epoch=7.5)
    assert schedule(7) == 1
    assert schedule(8) == pytest.approx(0.1)


def test_cosine() -> None:
    schedule = CosineSchedule(warmup_steps=10, final_factor=0.1, warmup_factor=0.5)(100, 10.0)
    assert schedule(0) == pytest.approx(0.5)
    assert schedule(10) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 0.1)) / 2)
    assert schedule(50) == pytest.approx(0.55)
    assert schedule(100) == pytest.approx(0.1)


@pytest.mark.parametrize("recipe", [MultiStepSchedule([2, 3], warmup_steps=100), CosineSchedule(warmup_steps=100)])
def test_a_run_shorter_than_its_warmup_still_rises(recipe: MultiStepSchedule | CosineSchedule) -> None:
    schedule = recipe(4, 1.0)
    assert [schedule(s) for s in range(4)] == pytest.approx([0.001 + 0.999 * s / 100 for s in range(4)])


def test_milestone_after_the_end_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    MultiStepSchedule([20])(total_steps=10, steps_per_epoch=1.0)
    assert "after the run's end" in caplog.text


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        (MultiStepSchedule, {"milestones": [9, 3]}, "milestones"),
        (MultiStepSchedule, {"unit": "hours"}, "lr_schedule.unit"),
        (MultiStepSchedule, {"warmup_steps": -1}, "warmup_steps"),
        (CosineSchedule, {"final_factor": 2}, "final_factor"),
        (CosineSchedule, {"warmup_factor": -0.1}, "warmup_factor"),
    ],
)
def test_bad_values(recipe: type, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**arguments)
