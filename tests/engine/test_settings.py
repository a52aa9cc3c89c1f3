"""Run settings."""

from typing import Any

import pytest
import torch

from pe_dense.engine.settings import RunSettings, TrainSettings, pick_device


def test_length_in_epochs_or_steps() -> None:
    assert TrainSettings("x", epochs=36).total_steps(1843.75) == 66375
    assert TrainSettings("x", epochs=0.01).total_steps(2.0) == 1
    assert TrainSettings("x", steps=7).total_steps(1843.75) == 7


def test_periods_in_epochs_or_steps() -> None:
    epochs = TrainSettings("x", epochs=36, eval_period=3, checkpoint_period=0.5)
    assert epochs.steps_between_evaluations(1843.75) == 3 * 1843.75
    assert epochs.steps_between_checkpoints(1843.75) == 0.5 * 1843.75
    steps = TrainSettings("x", epochs=36, eval_period=3, eval_steps=5000, checkpoint_steps=7)
    assert steps.steps_between_evaluations(1843.75) == 5000
    assert steps.steps_between_checkpoints(1843.75) == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of train.epochs and train.steps"),
        ({"epochs": 1, "steps": 5}, "exactly one of train.epochs and train.steps"),
        ({"epochs": 0}, "train.epochs must be greater than 0"),
        ({"steps": 5, "precision": "fp16"}, 'train.precision must be "fp32" or "bf16", it is "fp16"'),
        ({"steps": 5, "accumulate": 0}, "train.accumulate must be at least 1"),
        ({"steps": 5, "clip_norm": 0}, "train.clip_norm must be greater than 0"),
        ({"steps": 5, "ema_decay": 1.0}, "train.ema_decay must lie between 0 and 1"),
        ({"steps": 5, "eval_period": -1}, "train.eval_period must be 0"),
        (
            {"steps": 5, "eval_steps": 0},
            "train.eval_steps must be at least 1, it is 0; for only at the end set it to null",
        ),
        ({"steps": 0}, "train.steps must be at least 1, it is 0$"),
        ({"steps": 5, "init_skip": ["head."]}, "train.init_skip names parameters .*: set train.init_from"),
        ({"steps": 5, "keep_last": 0}, "train.keep_last must be at least 1"),
    ],
)
def test_bad_values_name_the_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainSettings("x", **values)


def test_a_run_that_trains_nothing() -> None:
    assert RunSettings("x", precision="bf16").torch_device() == pick_device("auto")
    with pytest.raises(ValueError, match=r"train\.num_threads must be at least 1, it is 0"):
        RunSettings("x", num_threads=0)


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=r'train\.device "gpu" is not a device'):
        TrainSettings("x", steps=1, device="gpu").torch_device()
    with pytest.raises(ValueError, match="asks for GPU 99 but PyTorch finds"):
        pick_device("cuda:99")
