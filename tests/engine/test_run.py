"""Whole runs of a toy model: training, exact resume, and everything that must be refused."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from toy_run import ToyTestLoader, make_config, state_of, weights_of

from pe_dense.config import ConfigError, load_config
from pe_dense.config import LazyCall as L
from pe_dense.engine import evaluate, load_checkpoint, read_metrics, train
from pe_dense.engine.build import without_pretrained
from pe_dense.engine.interrupt import RunInterrupted
from pe_dense.engine.run_directory import RunDirectoryError
from pe_dense.engine.sharded import CheckpointError, list_checkpoints, read_tensors, step_path
from pe_dense.engine.trainer import Trainer

FULL = {"ema_decay": 0.9, "accumulate": 2, "clip_norm": 0.5}


def train_until(cfg: DictConfig, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train and be stopped by a signal during ``step``."""
    original = Trainer.train_step

    def with_signal(self: Trainer, batch: Any) -> int:
        stop = original(self, batch)
        return 15 if self.step == step else stop

    monkeypatch.setattr(Trainer, "train_step", with_signal)
    with pytest.raises(RunInterrupted) as stopped:
        train(cfg)
    assert stopped.value.code == 143
    assert f"stopped after step {step}" in str(stopped.value)
    monkeypatch.undo()


def deterministic_lines(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what is measured in seconds and bytes."""
    measured = {"data_time", "step_time", "memory_mb"}
    return [{k: v for k, v in line.items() if k not in measured} for line in read_metrics(path / "metrics.jsonl")]


def assert_same(a: Any, b: Any, key: str = "") -> None:
    """Bit-for-bit equality of nested plain data."""
    assert type(a) is type(b), key
    if isinstance(a, dict):
        assert a.keys() == b.keys(), key
        for name in a:
            assert_same(a[name], b[name], f"{key}.{name}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), key
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{key}.{i}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), key
    else:
        assert a == b, key


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("run") / "out"
    train(make_config(path, **FULL))
    return path


def test_run_directory(finished: Path) -> None:
    assert [p.name for p in list_checkpoints(finished / "checkpoints")] == ["step_00000009", "step_00000012"]
    log = (finished / "log.txt").read_text()
    assert log.count("training 12 steps (4 epochs) of 4 images on cpu: 12 images, 7.5e-05 M parameters, 7.5e-05 M") == 1
    assert log.index("step 1/12") < log.index("step 2/12")  # the first step on the console, not in the metrics
    assert "(the first step is slower)" in log
    lines = read_metrics(finished / "metrics.jsonl")
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == [2, 4, 6, 8, 10, 12]
    assert set(lines[0]) == {
        "step", "epoch", "loss", "loss_cls", "loss_size", "lr", "grad_norm", "data_time", "step_time", "memory_mb",
    }  # fmt: skip
    assert lines[0]["loss"] == pytest.approx(lines[0]["loss_cls"] + lines[0]["loss_size"])
    assert [line["step"] for line in lines if "bbox/AP" in line] == [6, 12]  # every 2 epochs of 3 steps
    assert any((finished / "tensorboard").iterdir())
    saved = load_checkpoint(finished / "checkpoints" / "step_00000012")
    assert saved.step == 12
    assert [c["name"] for c in saved.categories or ()] == ["red", "green", "blue"]
    best = load_checkpoint(finished / "checkpoints" / "best.safetensors")
    assert best.weights.keys() == saved.weights.keys()
    assert best.metrics["bbox/AP"] == max(line["bbox/AP"] for line in lines if "bbox/AP" in line)


def test_saved_config_recreates_the_run(finished: Path, tmp_path: Path) -> None:
    cfg = load_config(finished / "config.yaml", [f"train.output_dir={tmp_path}"])
    train(cfg)
    name = "checkpoints/step_00000012"
    assert_same(weights_of(tmp_path / name), weights_of(finished / name))
    assert deterministic_lines(tmp_path) == deterministic_lines(finished)


@pytest.mark.parametrize("step", [5, 6])
def test_resume_is_exact(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """12 steps equal 5 + resume + 7 in weights, averages, optimiser, generators, logged numbers and best weights."""
    cfg = make_config(tmp_path, **FULL)
    train_until(cfg, step, monkeypatch)
    torch.rand(7)  # what happens in between does not matter
    results = train(cfg, resume=True)
    assert results == train(cfg, resume=True)  # of a finished run
    for name in ("step_00000009", "step_00000012"):
        ours, whole = (state_of(path / "checkpoints" / name) for path in (tmp_path, finished))
        for key in ("model", "ema", "optimizer", "rng", "step", "hooks"):
            if key == "hooks":
                ours[key]["LogHook"]["sums"].update(data_time=0.0, step_time=0.0)
                whole[key]["LogHook"]["sums"].update(data_time=0.0, step_time=0.0)
            assert_same(ours[key], whole[key], f"{name}: {key}")
    ours, whole = (load_checkpoint(path / "checkpoints" / "best.safetensors") for path in (tmp_path, finished))
    assert (ours.step, ours.metrics, ours.categories) == (whole.step, whole.metrics, whole.categories)
    assert_same(ours.weights, whole.weights, "best")
    assert deterministic_lines(tmp_path) == deterministic_lines(finished)


def test_evaluation_cut_off_by_a_kill_is_made_up_for(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Any, trainer: Trainer) -> None:
        if trainer.step == 6:
            raise KeyboardInterrupt

    cfg = make_config(tmp_path, **FULL)
    monkeypatch.setattr("pe_dense.engine.hooks.EvalHook.after_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    monkeypatch.undo()
    train(cfg, resume=True)
    assert deterministic_lines(tmp_path) == deterministic_lines(finished)


def test_resume_from_damaged_checkpoint_uses_the_one_before(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_config(tmp_path, **FULL)
    train_until(cfg, 8, monkeypatch)
    newest = step_path(tmp_path / "checkpoints", 8)
    [data] = newest.glob("*.distcp")
    data.write_bytes(data.read_bytes()[:-1000])
    train(cfg, resume=True)
    assert "falling back" in caplog.text
    assert "resuming at step 6 of 12" in caplog.text
    assert deterministic_lines(tmp_path) == deterministic_lines(finished)


@pytest.mark.parametrize(("folder", "why"), [(".", "holds no checkpoint"), ("new", "does not exist")])
def test_resume_without_checkpoint_starts_anew(
    tmp_path: Path, folder: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(make_config(tmp_path / folder, steps=1), resume=True)
    assert f"{tmp_path / folder} {why}: there is nothing to resume, a new run starts at step 0" in caplog.text
    assert "training 1 step (0.3333 epochs) of 4 images" in caplog.text
    assert step_path(tmp_path / folder / "checkpoints", 1).exists()


def test_resume_of_a_finished_run_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = make_config(tmp_path, steps=3)
    results = train(cfg)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert train(cfg, resume=True) == results
    assert f"the run in {tmp_path} is finished, all of its 3 steps are done" in caplog.text
    assert f"train.init_from={tmp_path}" in caplog.text
    assert "results of the last evaluation" in caplog.text
    assert "training 3 steps" not in caplog.text


def test_resume_with_other_config_lists_the_keys(tmp_path: Path) -> None:
    train(make_config(tmp_path, steps=2))
    changed = make_config(tmp_path, steps=4, log_period=1, keep_last=9)
    changed.optimizer.lr = 0.5
    changed.dataloader.train.num_workers = 3
    with pytest.raises(RunDirectoryError) as caught:
        train(changed, resume=True)
    text = str(caught.value)
    assert "differs in 2 keys (optimizer.lr: 0.02 -> 0.5; train.steps: 2 -> 4)" in text
    assert "train.init_from=" in text


def test_harmless_changes_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(make_config(tmp_path, steps=2))
    with caplog.at_level(logging.INFO):
        train(make_config(tmp_path, steps=2, log_period=1, keep_last=9), resume=True)
    assert "changed settings that do not matter: train.keep_last, train.log_period" in caplog.text


def test_resume_with_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(make_config(tmp_path, steps=2))
    monkeypatch.setattr("toy_run.ToyDataset.__len__", lambda self: 11)
    with pytest.raises(RunDirectoryError, match=r"number of images differ; 12 images there, 11 here"):
        train(make_config(tmp_path, steps=2), resume=True)


def test_fresh_start_into_a_used_directory(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"already holds a run.*--resume.*train\.output_dir.*train\.overwrite"):
        train(make_config(finished, **FULL))
    train(make_config(tmp_path, steps=4))
    train(make_config(tmp_path, steps=2, overwrite=True))
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000002"]
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [2, 2]
    assert (tmp_path / "log.txt").read_text().count("training") == 1


def test_init_from_starts_at_step_zero_with_the_averaged_weights(finished: Path, tmp_path: Path) -> None:
    source = finished / "checkpoints" / "step_00000012"
    cfg = make_config(tmp_path, steps=1, init_from=str(source))
    cfg.optimizer.lr = 0.0
    train(cfg)
    assert_same(weights_of(step_path(tmp_path / "checkpoints", 1)), read_tensors(source, "ema."))


def test_pretrained_weights_are_not_read_when_a_checkpoint_replaces_them(finished: Path, tmp_path: Path) -> None:
    cfg = make_config(tmp_path, steps=1, init_from=str(finished / "checkpoints" / "best.safetensors"))
    cfg.model.weights = "PE-Spatial-G14-448"
    train(cfg)
    assert evaluate(cfg)["bbox/AP"] >= 0
    assert cfg.model.weights == "PE-Spatial-G14-448"
    assert without_pretrained(cfg).model.weights is None
    saved = load_checkpoint(step_path(tmp_path / "checkpoints", 1))
    assert "PE-Spatial-G14-448" in saved.config


def test_evaluate_takes_averaged_weights(finished: Path, tmp_path: Path) -> None:
    cfg = make_config(finished, **FULL)
    last = [line for line in read_metrics(finished / "metrics.jsonl") if "bbox/AP" in line][-1]
    newest = evaluate(cfg, finished / "checkpoints" / "step_00000012")
    assert newest == {k: v for k, v in last.items() if k not in ("step", "epoch")}
    best = evaluate(cfg)
    assert best == load_checkpoint(finished / "checkpoints" / "best.safetensors").metrics
    with pytest.raises(FileNotFoundError, match=r"missing does not exist"):
        evaluate(cfg, finished / "missing")


def test_evaluation_of_random_weights_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluate(make_config(tmp_path))
    assert f"no checkpoint in {tmp_path}: evaluating the model with random weights" in caplog.text


def test_init_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"train\.init_from: checkpoint .*none does not exist; give a run's folder"
    ):
        train(make_config(tmp_path, init_from=str(tmp_path / "none")))


def test_other_categories_at_evaluation(finished: Path, tmp_path: Path) -> None:
    cfg = make_config(finished, **FULL)
    cfg.dataloader.test.dataset.names = ["red", "green", "yellow"]
    with pytest.raises(CheckpointError, match=r"class 2 is \(3, 'blue'\) there and \(3, 'yellow'\) here"):
        evaluate(cfg)
    cfg = make_config(tmp_path, steps=1)
    cfg.dataloader.test.dataset.names = ["green", "red", "blue"]
    with pytest.raises(CheckpointError, match=r"dataloader\.train \(3\) and of dataloader\.test \(3\) differ"):
        train(cfg)


def test_num_classes_that_differs_from_the_data(tmp_path: Path) -> None:
    cfg = make_config(tmp_path, steps=1)
    cfg.model.num_classes = 80
    with pytest.raises(CheckpointError, match=r"80 classes but .* 3 categories: set model\.num_classes to 3"):
        train(cfg)


def test_without_evaluator(tmp_path: Path) -> None:
    cfg = make_config(tmp_path, steps=1)
    del cfg["evaluator"]
    assert train(cfg) == {}
    assert not (tmp_path / "checkpoints" / "best.safetensors").exists()


def test_unknown_best_metric_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(make_config(tmp_path, steps=1, best_metric="segm/AP"))
    assert '"segm/AP" is not among the results (bbox/AP, bbox/score)' in caplog.text


def test_config_object_of_the_caller_is_not_changed(tmp_path: Path) -> None:
    cfg = make_config(tmp_path, steps=1)
    cfg.evaluator = None
    cfg.dataloader.test = L(ToyTestLoader)(dataset=cfg.dataloader.train.dataset)
    before = json.dumps(str(cfg))
    train(cfg)
    assert json.dumps(str(cfg)) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"width": 8}}, r"^model is not a call: write it as one, model=L\(\.\.\.\)\(\.\.\.\)$"),
        ({"dataloader": {"train": None}}, "dataloader.train is missing: .* train=L"),
        ({"optimizer": None, "train": {"steps": 3}}, "(?s)2 errors.*optimizer is missing.*train is not a call"),
        ({"evaluator": {"tasks": None}}, "^evaluator is not a call"),
        ({"train": L(dict)(output_dir="x", device="cpu")}, r"train builds dict: write it as L\(pe_dense.engine.TrainS"),
    ],
)
def test_config_without_calls(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    cfg = make_config(tmp_path)
    for key, value in changes.items():
        cfg[key] = value
    with pytest.raises(ConfigError, match=message):
        train(cfg)


def test_evaluation_without_evaluator(tmp_path: Path) -> None:
    cfg = make_config(tmp_path)
    del cfg["evaluator"]
    with pytest.raises(ConfigError, match="evaluator is missing"):
        evaluate(cfg)


@pytest.mark.parametrize(("frozen", "weights"), [(True, None), (False, None), (True, "init_from")])
def test_frozen_random_encoder_is_reported(
    finished: Path, tmp_path: Path, frozen: bool, weights: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_config(tmp_path, steps=1, init_from=str(finished) if weights else None)
    cfg.model.frozen = frozen
    train(cfg)
    reported = "the encoder is frozen and its weights are random" in caplog.text
    assert reported == (frozen and weights is None)
    caplog.clear()
    train(cfg, resume=True)
    assert "its weights are random" not in caplog.text
