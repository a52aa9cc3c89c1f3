"""Two processes against one: same batches, same weights, one error."""

import logging
import multiprocessing
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import FillDisk, KillAt, make_config, train_compiled, train_saved_configs, train_until_full

from pe_dense.config import LazyCall as L
from pe_dense.config import load_config, save_config
from pe_dense.engine import NonFiniteLossError, latest_checkpoint, load_checkpoint, read_metrics, train
from pe_dense.engine.sharded import (
    RUN,
    check_intact,
    list_checkpoints,
    read_own,
    read_tensors,
    step_path,
    tensor_shapes,
)
from pe_dense.launch import LaunchError, launch


def write_config(folder: Path, name: str, **settings: Any) -> Path:
    """Five images a step: no number of processes here divides them."""
    fixed = {"steps": 5, "ema_decay": 0.9, "clip_norm": 0.1, "log_period": 1, "eval_period": 0}
    cfg = make_config(folder / name, **{**fixed, **settings})
    cfg.model.dropout = 0.0
    cfg.dataloader.train.batch_size = 5
    cfg.dataloader.test.dataset.num_images = 11  # the last process has one image less to evaluate
    cfg.optimizer.layer_decay = None
    cfg.optimizer.lr_multipliers = {"head.": 0.5}
    save_config(cfg, folder / f"{name}.yaml")
    return folder / f"{name}.yaml"


@pytest.mark.slow
def test_same_as_one_process(tmp_path: Path) -> None:
    """Replicated and sharded, with 2 and 3 processes: weights, averages, optimiser, logged numbers, evaluation."""
    train_saved_configs(write_config(tmp_path, "one", accumulate=2))
    names = ["ddp2", "fsdp2", "async2"]
    settings: list[dict[str, Any]] = [{}, {"parallel": "fsdp", "reshard": False}, {"async_checkpoint": True}]
    paths = [write_config(tmp_path, name, accumulate=2, **s) for name, s in zip(names, settings)]
    launch(train_saved_configs, 2, paths, "gloo")
    paths = [write_config(tmp_path, name, parallel=name[:-1]) for name in ("ddp3", "fsdp3")]
    launch(train_saved_configs, 3, paths, "gloo")
    lines = read_metrics(tmp_path / "one" / "metrics.jsonl")
    assert len(lines) == 6
    for name in [*names, "ddp3", "fsdp3"]:
        for part in ("model.", "ema.", "optimizer."):
            one, other = (read_tensors(step_path(tmp_path / n / "checkpoints", 5), part) for n in ("one", name))
            assert one.keys() == other.keys() != set()
            for key, value in one.items():
                torch.testing.assert_close(
                    other[key], value, rtol=0, atol=1e-5, msg=lambda m, of=f"{name} {key}": f"{of}: {m}"
                )
        best = [load_checkpoint(tmp_path / n / "checkpoints" / "best.safetensors").weights for n in ("one", name)]
        torch.testing.assert_close(best[0], best[1], rtol=0, atol=1e-5)
        others = read_metrics(tmp_path / name / "metrics.jsonl")
        assert len(others) == 6
        for single, several in zip(lines, others):
            for key in {"loss", "grad_norm", "bbox/AP", "bbox/score"} & single.keys():
                assert several[key] == pytest.approx(single[key], rel=1e-4), (name, key)


@pytest.mark.slow
def test_bf16_sharded_is_close_to_one_process(tmp_path: Path) -> None:
    """Weights travel, and gradients are made, in bf16, so equality would be luck.

    Each process rounds the gradient of its own images (2^-9 of its size, and so on in each layer above) before they are
    added in float32, and the weights of a norm are rounded too, which autocast leaves alone. Five steps then differ
    from one process's by up to 0.8 % of the largest first moment, 0.5 % of the second, and 4.5e-4 in the weights,
    which is as far as bf16 is from float32 in one process (measured: 5.5e-4). The limits are four times that.
    """
    train_saved_configs(write_config(tmp_path, "one", precision="bf16"), write_config(tmp_path, "fp32"))
    launch(train_saved_configs, 2, [write_config(tmp_path, "fsdp", precision="bf16", parallel="fsdp")], "gloo")
    one, fp32, fsdp = (read_tensors(step_path(tmp_path / n / "checkpoints", 5), "") for n in ("one", "fp32", "fsdp"))
    assert one.keys() == fsdp.keys()
    for name, value in one.items():
        limit = 0.03 * value.abs().max().item() if name.startswith("optimizer.") else 2e-3
        torch.testing.assert_close(fsdp[name], value, rtol=0, atol=limit, msg=lambda m, of=name: f"{of}: {m}")
        if name.startswith("model."):
            assert not torch.equal(fsdp[name], fp32[name]), f"{name} was trained in float32"
            assert not torch.equal(fsdp[name], fsdp[name].bfloat16().float()), f"{name} was kept in bf16"
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "fsdp")]
    for single, several in zip(*lines, strict=True):
        for key in {"loss", "grad_norm", "bbox/score"} & single.keys():
            assert several[key] == pytest.approx(single[key], rel=5e-3), key  # measured: 1.1e-3


@pytest.mark.slow
def test_compiled_sharded_is_the_same(tmp_path: Path) -> None:
    """Each unit compiled by itself: one step, and the steps that reuse what was compiled."""
    settings: dict[str, Any] = {"parallel": "fsdp", "steps": 3, "checkpoint_steps": 1, "keep_last": 3}
    paths = [write_config(tmp_path, name, compile=name == "compiled", **settings) for name in ("plain", "compiled")]
    launch(train_compiled, 2, paths, "gloo")
    for step in (1, 3):
        folders = [step_path(path.with_suffix("") / "checkpoints", step) for path in paths]
        plain, compiled = (read_tensors(folder, "") for folder in folders)
        assert plain.keys() == compiled.keys()
        for name, value in plain.items():
            torch.testing.assert_close(compiled[name], value, rtol=0, atol=1e-6, msg=lambda m, of=name: f"{of}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_start_from_a_detector_with_other_classes(tmp_path: Path, parallel: str) -> None:
    """What is skipped has the same random values in all processes: those of one process."""
    train_saved_configs(write_config(tmp_path, "source"))
    source = step_path(tmp_path / "source" / "checkpoints", 5)
    for name in ("one", parallel):
        path = write_config(tmp_path, name, init_from=str(source), init_skip=["head."], parallel=parallel, steps=2)
        cfg = load_config(path)
        cfg.model.num_classes = 4
        for part in (cfg.dataloader.train, cfg.dataloader.test):
            part.dataset.names = ["red", "green", "blue", "grey"]
        save_config(cfg, path)
    train_saved_configs(tmp_path / "one.yaml")
    launch(train_saved_configs, 2, [tmp_path / f"{parallel}.yaml"], "gloo")
    one, several = (read_tensors(step_path(tmp_path / n / "checkpoints", 2), "model.") for n in ("one", parallel))
    assert len(one["head.bias"]) == 4
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "processes"), [("ddp", 3), ("fsdp", 2)])
def test_killed_and_resumed(tmp_path: Path, parallel: str, processes: int, caplog: pytest.LogCaptureFixture) -> None:
    """8 steps of several processes equal 5 + kill -9 of one + resume, bit for bit, their generators included."""
    settings = {"steps": 8, "ema_decay": 0.9, "log_period": 3, "parallel": parallel, "async_checkpoint": True}
    paths = {name: tmp_path / f"{name}.yaml" for name in ("whole", "parts")}
    for name, path in paths.items():
        cfg = make_config(tmp_path / name, **settings)  # with dropout, checkpoints after 3 and 6
        cfg.hooks = [L(KillAt)(step=5, rank=1, saved=3)]
        save_config(cfg, path)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "killed").touch()  # so nobody is
    with pytest.raises(LaunchError, match=f"process 1 of {processes} was ended by SIGKILL"):
        launch(train_saved_configs, processes, [paths["parts"]], "gloo")
    assert latest_checkpoint(tmp_path / "parts" / "checkpoints") == step_path(tmp_path / "parts" / "checkpoints", 3)
    unfinished = step_path(tmp_path / "parts" / "checkpoints", 4)  # newer, but without a marker: nobody reads it
    unfinished.mkdir()
    (unfinished / RUN).touch()
    launch(train_saved_configs, processes, list(paths.values()), "gloo")
    assert not unfinished.exists()
    whole, parts = (step_path(tmp_path / name / "checkpoints", 8) for name in paths)
    names = tensor_shapes(whole)
    assert names == tensor_shapes(parts)
    assert {name.split(".")[0] for name in names} == {"model", "ema", "optimizer"}
    one, two = read_tensors(whole, ""), read_tensors(parts, "")
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    for rank in range(processes):
        for key in ("torch", "python"):
            assert str(read_own(whole, rank)["rng"][key]) == str(read_own(parts, rank)["rng"][key])
    # at another number of processes it goes on at the same step, and says what differs
    cfg = load_config(paths["parts"], ["train.parallel=ddp"])
    shutil.rmtree(parts)
    with caplog.at_level(logging.INFO):
        train(cfg, resume=True)
    assert f"resuming with 1 process a run of {processes}: same step and data, but dropout differs" in caplog.text
    assert "resuming at step 6 of 8" in caplog.text
    assert parts.exists()


@pytest.mark.slow
def test_disk_that_is_full_for_one_process(tmp_path: Path) -> None:
    """All processes are told the same; the checkpoint before is whole, nothing is half written, the run goes on."""
    kinds: dict[str, dict[str, Any]] = {"ddp": {}, "fsdp": {"parallel": "fsdp", "async_checkpoint": True}}
    for name, more in kinds.items():
        cfg = make_config(tmp_path / name, steps=9, eval_period=0, log_period=100, **more)
        cfg.hooks = [L(FillDisk)(step=5, rank=1, saved=3)]
        save_config(cfg, tmp_path / f"{name}.yaml")
        cfg.train.output_dir = str(tmp_path / f"{name}_whole")
        cfg.hooks = []
        save_config(cfg, tmp_path / f"{name}_whole.yaml")
    launch(train_until_full, 2, [tmp_path / f"{name}.yaml" for name in kinds], "gloo")
    launch(train_saved_configs, 2, [tmp_path / f"{name}_whole.yaml" for name in kinds], "gloo")
    for name in kinds:
        told = [re.sub(r"\d+ MB free", "", (tmp_path / f"{name}.{rank}").read_text()) for rank in range(2)]
        assert told[0] == told[1]
        assert re.match(r"could not write .*step_00000006 \(OSError: .*File too large.*continue .* --resume$", told[0])
        assert (tmp_path / f"{name}.left").read_text() == "step_00000003"
        ours, whole = (tmp_path / folder / "checkpoints" for folder in (name, f"{name}_whole"))
        assert [path.name for path in list_checkpoints(ours)] == ["step_00000006", "step_00000009"]
        for step in (6, 9):
            check_intact(step_path(ours, step))
        one, two = (read_tensors(step_path(folder, 9), "") for folder in (ours, whole))
        assert all(torch.equal(value, two[key]) for key, value in one.items())


@pytest.mark.slow
def test_error_of_one_process_stops_all(tmp_path: Path) -> None:
    """Of three images a step the second process has one, too few for two parts; the first waits for its gradients."""
    cfg = make_config(tmp_path / "run", accumulate=2)
    cfg.dataloader.train.batch_size = 3
    save_config(cfg, tmp_path / "config.yaml")
    with pytest.raises(ValueError, match=r"train\.accumulate is 2 but this process has only 1 image per step"):
        launch(train_saved_configs, 2, (tmp_path / "config.yaml",), "gloo")
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_non_finite_loss_of_one_process_is_everybodys_error(tmp_path: Path) -> None:
    cfg = make_config(tmp_path / "run")
    cfg.dataloader.train.poison = 3  # its second image: in process 1
    save_config(cfg, tmp_path / "config.yaml")
    with pytest.raises(NonFiniteLossError, match=r"step 4 is not finite .*nonfinite_step_00000004_rank1\.pt"):
        launch(train_saved_configs, 2, (tmp_path / "config.yaml",), "gloo")
    assert len(list((tmp_path / "run").glob("nonfinite_*"))) == 1
