"""Runs of several tasks: on joint data, on data sets with one task each, over processes, resumed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from toy_run import train_saved_configs

from pe_dense.config import ConfigError, load_config, save_config
from pe_dense.config import LazyCall as L
from pe_dense.data import DataSource, build_mixed_train_loader
from pe_dense.data.scenes import ScenePaths, write_scenes
from pe_dense.engine import RunDirectoryError, evaluate, load_checkpoint, read_metrics, train
from pe_dense.engine.hardware import Setup, find_gpu
from pe_dense.engine.planning import make_plan
from pe_dense.engine.sharded import read_tensors, step_path
from pe_dense.evaluation import evaluate_dense_results, load_dense_evaluator
from pe_dense.launch import launch
from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.prediction import Predictor

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "multitask" / "scenes_small.py"
TASKS = ("detection", "depth", "sem_seg")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=6, val=3, size=64, videos=0)


def joint_config(scenes: ScenePaths, output_dir: Path, **settings: Any) -> DictConfig:
    small = {"train.epochs": "null", "train.steps": 4, "train.checkpoint_steps": 2, "train.eval_period": 0}
    small |= {"train.log_period": 1, "train.device": "cpu", "train.ema_decay": 0.5, "dataloader.train.batch_size": 2}
    small |= {"model.encoder.depth": 4, "model.encoder.embed_dim": 48, "train.best_metric": "depth/delta1"}
    small |= {f"dataloader.{part}.num_workers": 0 for part in ("train", "test")}
    changes = {"data.root": scenes.root, "train.output_dir": output_dir, **small, **settings}
    return load_config(RECIPE, [f"{key}={value}" for key, value in changes.items()])


def mixed_config(scenes: ScenePaths, output_dir: Path, *tasks: str, **settings: Any) -> DictConfig:
    """Each task from a data set of its own; models and evaluators of other tasks are taken out."""
    cfg = joint_config(scenes, output_dir, **settings)
    old = cfg.dataloader.train
    sources = {n: L(DataSource)(dataset=old.dataset[n], transforms=old.transforms, share=1) for n in tasks}
    cfg.dataloader.train = L(build_mixed_train_loader)(
        sources=sources, batch_size=len(tasks), num_workers=0, seed="${train.seed}"
    )
    for name in set(TASKS) - set(tasks):
        for part in (cfg.model.tasks, cfg.model.loss_weights, cfg.evaluator):
            del part[name]
    return cfg


@pytest.mark.slow
def test_train_resume_evaluate_predict(scenes: ScenePaths, tmp_path: Path) -> None:
    """On joint data; what is interrupted after the second step ends bit for bit where the other run does."""
    saved = {f"evaluator.{name}.save": True for name in ("depth", "sem_seg")}
    results = train(joint_config(scenes, tmp_path / "whole", **saved))
    assert {"bbox/AP", "segm/AP", "depth/delta1", "sem_seg/mIoU"} <= results.keys()
    inference = tmp_path / "whole" / "inference"
    assert (inference / "coco_instances_results.json").is_file()
    for task, key in (("depth", "depth/delta1"), ("sem_seg", "sem_seg/mIoU")):
        evaluator = load_dense_evaluator(tmp_path / "whole" / "config.yaml", task=task)
        assert evaluate_dense_results(evaluator, inference / task)[key] == pytest.approx(results[key], abs=1e-3)
    logged = [line for line in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "loss" in line]
    parts = [key for key in logged[0] if key.split(".")[0] in TASKS]
    assert {key.split(".")[0] for key in parts} == set(TASKS)
    assert all(line["loss"] == pytest.approx(sum(line[key] for key in parts)) for line in logged)

    train(joint_config(scenes, tmp_path / "parts", **saved))
    checkpoints = tmp_path / "parts" / "checkpoints"
    for path in (*checkpoints.glob("step_00000004/*"), checkpoints / "step_00000004"):
        path.rmdir() if path.is_dir() else path.unlink()
    train(joint_config(scenes, tmp_path / "parts", **saved), resume=True)
    whole, again = (read_tensors(step_path(tmp_path / n / "checkpoints", 4), "") for n in ("whole", "parts"))
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())

    best = tmp_path / "whole" / "checkpoints" / "best.safetensors"
    assert load_checkpoint(best).pixel_classes == load_checkpoint(step_path(best.parent, 4)).pixel_classes
    assert evaluate(load_config(tmp_path / "whole" / "config.yaml"), best) == pytest.approx(results, nan_ok=True)
    predictor = Predictor.from_checkpoint(best, device="cpu")
    assert predictor.label_names == load_checkpoint(best).pixel_classes
    assert predictor.categories is not None
    assert len(predictor.categories) == 6
    passes: list[int] = []
    encoder = next(m for m in predictor.model.modules() if isinstance(m, PerceptionEncoder))
    encoder.ln_pre.register_forward_hook(lambda *_: passes.append(1))
    [output] = predictor.predict_outputs([next(scenes.val_images.iterdir())])
    assert output["depth"].shape == output["sem_seg"].shape == output["instances"].image_size == (64, 64)
    assert len(passes) == 1


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_processes_without_a_task(scenes: ScenePaths, tmp_path: Path, parallel: str) -> None:
    """One process sees depth only, the other labels only; the weights are those of one process that sees both."""
    for name in ("one", "two"):
        cfg = mixed_config(scenes, tmp_path / name, "depth", "sem_seg", **{"model.tasks.sem_seg.dropout": 0.0})
        cfg.train.parallel = parallel
        save_config(cfg, tmp_path / f"{name}.yaml")
    train_saved_configs(tmp_path / "one.yaml")
    launch(train_saved_configs, 2, [tmp_path / "two.yaml"], "gloo")
    one, two = (read_tensors(step_path(tmp_path / n / "checkpoints", 4), "model.") for n in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=2e-5, msg=lambda m, of=name: f"{of}: {m}")
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    for single, several in zip(*lines, strict=True):
        for key in {"loss", "depth/delta1", "sem_seg/aAcc"} & single.keys():
            assert several[key] == pytest.approx(single[key], rel=1e-3), key


@pytest.mark.slow
def test_three_data_sets(scenes: ScenePaths, tmp_path: Path) -> None:
    """Every step has an image of each; the run remembers what each data set was."""
    results = train(mixed_config(scenes, tmp_path / "run", *TASKS))
    assert {"bbox/AP", "depth/delta1", "sem_seg/mIoU"} <= results.keys()
    assert all(math.isfinite(line.get("loss", 0.0)) for line in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    more = write_scenes(tmp_path / "more", train=7, val=3, size=64, videos=0)
    cfg = mixed_config(scenes, tmp_path / "run", *TASKS)
    cfg.dataloader.train.sources.depth.dataset.depths = str(more.train_depth)
    cfg.dataloader.train.sources.depth.dataset.images = str(more.train_images)
    with pytest.raises(RunDirectoryError, match=r"cannot resume .*sources\.depth\.dataset"):
        train(cfg, resume=True)


def test_tasks_and_data_that_do_not_fit(scenes: ScenePaths, tmp_path: Path) -> None:
    def refused(cfg: DictConfig, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            train(cfg)
        assert not (tmp_path / "run").exists()

    cfg = mixed_config(scenes, tmp_path / "run", *TASKS)
    del cfg.dataloader.train.sources["depth"]
    cfg.dataloader.train.batch_size = 2
    refused(cfg, ConfigError, r"model learns from depth, but no training data set \(detection, sem_seg\) has that")
    cfg = mixed_config(scenes, tmp_path / "run", *TASKS)
    del cfg.model.tasks["sem_seg"], cfg.model.loss_weights["sem_seg"]
    refused(cfg, ConfigError, "training data set sem_seg has sem_seg, but the model learns from instances, depth")
    cfg = joint_config(scenes, tmp_path / "run", **{"dataloader.train.dataset.depth": "null"})
    refused(cfg, ConfigError, r"learns from depth, but no training data set \(dataloader\.train\.dataset\) has that")
    cfg = joint_config(scenes, tmp_path / "run", **{"model.tasks.sem_seg.num_classes": 3})
    refused(cfg, ValueError, r"has 3 classes but .* 8 classes of pixels: set model\.tasks\.sem_seg\.num_classes to 8$")
    cfg = joint_config(scenes, tmp_path / "run", **{"model.tasks.detection.num_classes": 3})
    refused(cfg, ValueError, r"set model\.tasks\.detection\.num_classes to 6$")
    cfg = joint_config(scenes, tmp_path / "run")
    cfg.evaluator.objects = cfg.evaluator.detection
    del cfg.evaluator["detection"]
    refused(cfg, ValueError, r"evaluator\.objects would get no image: .* detection, depth, sem_seg")
    cfg = joint_config(scenes, tmp_path / "run")
    cfg.evaluator.depth = 3
    refused(cfg, ConfigError, r"evaluator\.depth is not a call")
    cfg = joint_config(scenes, tmp_path / "run", **{"+model.loss_weights.dept": 2.0})
    refused(cfg, ValueError, "did you mean 'depth'")


def test_one_task_of_the_recipe_by_itself(scenes: ScenePaths, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Leaving tasks out is a matter of the command line, whatever labels the data has."""
    cfg = joint_config(scenes, tmp_path / "run", **{"train.steps": 1, "train.checkpoint_steps": 1})
    for name in ("detection", "sem_seg"):
        for part in (cfg.model.tasks, cfg.model.loss_weights, cfg.evaluator):
            del part[name]
    assert "depth/delta1" in train(cfg)
    assert "no task of the model learns from the training data's instances, sem_seg" in caplog.text


def test_plan(scenes: ScenePaths, tmp_path: Path) -> None:
    """Memory and time of a run on three data sets, whose images are counted."""
    cfg = mixed_config(scenes, tmp_path / "run", *TASKS)
    plan = make_plan(cfg, Setup(find_gpu("a100-40")), size=(64, 64), objects=3)
    assert plan.images == 18
    assert plan.needs.chosen.activations > 0
