"""Learning-rate schedules, against the released recipes' own curves."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pe_dense.engine.schedules import (
    Beta1Cycle,
    CosineSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PolySchedule,
)


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


NYU = {"warmup_steps": 12800}
NYU_DINOV2 = CosineSchedule(**NYU, final_factor=1e-8, warmup="product")
ADE = {"warmup_steps": 1500, "warmup_factor": 1e-6}


@pytest.mark.parametrize(
    ("task", "name", "recipe", "total", "lr"),
    [
        ("depth", "dinov2_nyu_lr_schedule_mmcv1", NYU_DINOV2, 38400, 1e-4),
        ("depth", "dinov3_nyu_lr_schedule", OneCycleSchedule(**NYU), 38400, 3e-4),
        ("segmentation", "dinov2_linear_lr_mmcv1_poly", PolySchedule(**ADE), 40000, 1e-3),
        (
            "segmentation", "dinov3_ade_linear_lr", OneCycleSchedule(**ADE, final_factor=0, warmup="product"), 40000,
            1e-3,
        ),
    ],
)  # fmt: skip
def test_dense_recipes(fixtures: Path, task: str, name: str, recipe, total: int, lr: float) -> None:
    expected = json.loads((fixtures / task / "expected.json").read_text())[name]
    points = expected.get("lr_at_step") or {k: v[0] for k, v in expected["lr_and_beta1_at_step"].items()}
    schedule = recipe(total, steps_per_epoch=100.0)
    ours = {step: lr * schedule(int(step)) for step in points}
    assert ours == pytest.approx(points, rel=1e-9, abs=1e-18)


def test_beta1_of_the_one_cycle(fixtures: Path) -> None:
    expected = json.loads((fixtures / "depth" / "expected.json").read_text())["dinov3_nyu_lr_schedule"]
    hook = Beta1Cycle(warmup_steps=12800)
    for step, (_, beta1) in expected["lr_and_beta1_at_step"].items():
        assert hook.beta1(int(step), 38400) == pytest.approx(beta1, rel=1e-9)


def test_beta1_is_set_before_each_step() -> None:
    optimizer = SimpleNamespace(param_groups=[{"betas": (0.9, 0.99)}, {"betas": (0.9, 0.98)}])
    trainer = SimpleNamespace(optimizer=optimizer, step=0, total_steps=4)
    hook = Beta1Cycle(warmup_steps=1)
    hook.before_train(trainer)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.0, 0.99), (0.0, 0.98)]
    trainer.step = 1
    hook.after_step(trainer)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.85, 0.99), (0.85, 0.98)]
    trainer.optimizer = SimpleNamespace(param_groups=[{"momentum": 0.9}])
    with pytest.raises(ValueError, match="Beta1Cycle needs an optimizer with betas"):
        hook.before_train(trainer)


def test_poly_arrives_at_the_end() -> None:
    schedule = PolySchedule(power=2.0, final_factor=0.1)(10, 1.0)
    assert [schedule(s) for s in (0, 5, 10, 12)] == pytest.approx([1, 0.1 + 0.9 / 4, 0.1, 0.1])


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
        (CosineSchedule, {"warmup": "added"}, "lr_schedule.warmup must be one of line, product"),
        (PolySchedule, {"power": 0}, "power"),
        (PolySchedule, {"warmup_steps": -1}, "warmup_steps"),
        (PolySchedule, {"final_factor": -1}, "final_factor"),
        (OneCycleSchedule, {"warmup": "line"}, "lr_schedule.warmup must be one of added, product"),
    ],
)
def test_bad_values(recipe: type, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**arguments)
