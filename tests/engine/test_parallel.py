"""Two processes against one: same batches, same weights, one error."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from toy_run import make_config, train_saved_config

from pe_dense.config import save_config
from pe_dense.engine import NonFiniteLossError, load_checkpoint, read_metrics
from pe_dense.engine.checkpoint import step_path
from pe_dense.launch import launch

SETTINGS = {"steps": 5, "ema_decay": 0.9, "accumulate": 2, "clip_norm": 0.1, "log_period": 1, "eval_period": 0}


@pytest.mark.slow
def test_same_as_one_process(tmp_path: Path) -> None:
    for processes, name in enumerate(("one", "two"), 1):
        cfg = make_config(tmp_path / name, **SETTINGS)
        cfg.model.dropout = 0.0
        save_config(cfg, tmp_path / f"{name}.yaml")
        launch(train_saved_config, processes, (tmp_path / f"{name}.yaml",), "gloo")
    one, two = (load_checkpoint(step_path(tmp_path / name / "checkpoints", 5)) for name in ("one", "two"))
    for part in ("model", "ema"):
        for key, value in one[part].items():
            torch.testing.assert_close(two[part][key], value, rtol=1e-4, atol=1e-6)
    assert len(two["rng"]) == 2
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 6
    for single, double in zip(*lines):
        for key in {"loss", "grad_norm", "bbox/AP", "bbox/score"} & single.keys():
            assert double[key] == pytest.approx(single[key], rel=1e-4)


@pytest.mark.slow
def test_error_of_one_process_stops_all(tmp_path: Path) -> None:
    """Of three images a step the second process has one, too few for two parts; the first waits for its gradients."""
    cfg = make_config(tmp_path / "run", accumulate=2)
    cfg.dataloader.train.batch_size = 3
    save_config(cfg, tmp_path / "config.yaml")
    with pytest.raises(ValueError, match=r"train\.accumulate is 2 but this process has only 1 images per step"):
        launch(train_saved_config, 2, (tmp_path / "config.yaml",), "gloo")
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_non_finite_loss_of_one_process_is_everybodys_error(tmp_path: Path) -> None:
    cfg = make_config(tmp_path / "run")
    cfg.dataloader.train.poison = 3  # its second image: in process 1
    save_config(cfg, tmp_path / "config.yaml")
    with pytest.raises(NonFiniteLossError, match=r"step 4 is not finite .*nonfinite_step_00000004_rank1\.pt"):
        launch(train_saved_config, 2, (tmp_path / "config.yaml",), "gloo")
    assert len(list((tmp_path / "run").glob("nonfinite_*"))) == 1
