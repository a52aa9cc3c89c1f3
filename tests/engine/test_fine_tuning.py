"""A new run from the weights of a model with other classes."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from toy_run import ToyModel, make_config, weights_of

from pe_dense.engine import train
from pe_dense.engine.checkpoint import Checkpoint
from pe_dense.engine.fine_tuning import start_from
from pe_dense.engine.sharded import CheckpointError, step_path

FIVE = ("red", "green", "blue", "dark", "bright")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of three classes."""
    path = tmp_path_factory.mktemp("run")
    train(make_config(path, steps=2))
    return step_path(path / "checkpoints", 2)


def five_classes(folder: Path, source: Path, **settings: Any) -> DictConfig:
    """A config of a new run with other classes, which does not change its weights."""
    cfg = make_config(folder, steps=1, init_from=str(source), **settings)
    cfg.model.num_classes = len(FIVE)
    for part in (cfg.dataloader.train, cfg.dataloader.test):
        part.dataset.names = FIVE
    cfg.optimizer.lr = 0.0
    return cfg


@pytest.mark.parametrize("skip", [["head."], ["head.weight", "head.bias"], ["h*d.*"]])
def test_other_classes(source: Path, tmp_path: Path, skip: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        train(five_classes(tmp_path, source, init_skip=skip))
    assert f"(step 2); 2 tensors stay random (train.init_skip=[{','.join(skip)}])" in caplog.text
    ours, theirs = weights_of(step_path(tmp_path / "checkpoints", 1)), weights_of(source)
    torch.manual_seed(0)  # the run's seed: the head is what the model is built with
    built = ToyModel(len(FIVE)).state_dict()
    for name, value in ours.items():
        assert torch.equal(value, built[name] if name.startswith("head.") else theirs[name]), name


def test_error_says_what_to_skip(source: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"2 of another shape: .*; .*set train\.init_skip=\[head\.\]$") as caught:
        train(five_classes(tmp_path, source))
    assert "head.bias ((3,) in the file, (5,) in the model)" in str(caught.value)
    cfg = five_classes(tmp_path, source, init_skip=["body.1."])
    with pytest.raises(CheckpointError, match=r"set train\.init_skip=\[body\.1\.,head\.\]$"):
        train(cfg)
    cfg.train.init_skip = ["body.1.", "head."]
    train(cfg)


def test_nothing_matches(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"train\.init_skip: no parameter .* matches 'heat': give .*; did you mean 'head'"
    ):
        train(five_classes(tmp_path, source, init_skip=["head.", "heat"]))
    assert list(tmp_path.iterdir()) == []


def test_what_only_the_source_has(source: Path, tmp_path: Path) -> None:
    """Left out if it is named."""
    cfg = make_config(tmp_path, steps=1, init_from=str(source))
    cfg.model.norm = False
    with pytest.raises(CheckpointError, match=r"2 not in the model: body\.1\.bias, body\.1\.weight; to start these "
                       r"layers anew, set train\.init_skip=\[body\.1\.\]$"):  # fmt: skip
        train(cfg)
    cfg.train.init_skip = ["body.1."]
    train(cfg)


def test_no_more_is_suggested_than_what_differs(tmp_path: Path) -> None:
    """Not the whole encoder for its table of positions; all heads by what their names have in common."""

    def model(grid: int, classes: int) -> torch.nn.ModuleDict:
        encoder = torch.nn.Module()
        encoder.positions = torch.nn.Parameter(torch.zeros(grid, 2))
        encoder.blocks = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
        return torch.nn.ModuleDict(
            {"encoder": encoder, "heads": torch.nn.ModuleList([torch.nn.Linear(2, classes)] * 2)}
        )

    source = Checkpoint(tmp_path, model(4, 3).state_dict(), 1, "", None, {})
    with pytest.raises(CheckpointError, match=r"set train\.init_skip=\[encoder\.positions,heads\.\]$"):
        start_from(model(9, 5), source)
    start_from(model(9, 5), source, ["encoder.positions", "heads."])


def test_much_that_differs_is_named_too(tmp_path: Path) -> None:
    same, other = {f"a{i}": torch.zeros(1) for i in range(20)}, {f"b{i}": torch.zeros(1) for i in range(13)}
    model = torch.nn.Module()
    for name, value in same.items():
        model.register_buffer(name, value)
    with pytest.raises(
        CheckpointError, match=r"start what differs anew: its 13 parts are train\.init_skip=\[b0,b1,b10,"
    ):
        start_from(model, Checkpoint(tmp_path, same | other, 1, "", None, {}))


def test_nothing_is_suggested_for_another_model(tmp_path: Path) -> None:
    weights = {f"{name}.weight": torch.zeros(1, 1) for name in "abc"}
    model = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1, bias=False) for name in "ad"})
    with pytest.raises(CheckpointError, match=r"1 missing: d\.weight; 2 not in the model: b\.weight, c\.weight$"):
        start_from(model, Checkpoint(tmp_path, weights, 1, "", None, {}))
