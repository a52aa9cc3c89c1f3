"""A real detector on real files: train, evaluate, resume and predict, all through the shipped demo config."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from toy_run import train_saved_configs

from pe_dense.config import load_config, save_config
from pe_dense.data.scenes import ScenePaths, write_scenes
from pe_dense.engine import RunDirectoryError, RunInterrupted, evaluate, read_metrics, train
from pe_dense.engine.sharded import read_tensors, step_path
from pe_dense.engine.trainer import Trainer
from pe_dense.launch import launch
from pe_dense.prediction import Predictor

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo" / "mask_rcnn_scenes.py"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=8, val=3, size=64, videos=0)


def demo_config(scenes: ScenePaths, output_dir: Path, *overrides: str) -> DictConfig:
    small = [
        f"data.root={scenes.root}", f"train.output_dir={output_dir}", "train.epochs=null", "train.steps=4",
        "train.checkpoint_steps=2", "train.eval_period=0", "train.log_period=1", "train.device=cpu",
        "train.ema_decay=0.5", "train.accumulate=2", "dataloader.train.batch_size=4",
        "dataloader.train.transforms.1.size=64", "dataloader.test.transforms.0.short_edge_length=64",
        "dataloader.test.transforms.0.max_size=64", "model.backbone.backbone.depth=2",
        "model.backbone.backbone.embed_dim=48", "model.backbone.backbone.drop_path_rate=0.3",
    ]  # fmt: skip
    return load_config(DEMO, [*small, *overrides])


def interrupt_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Trainer.train_step

    def with_signal(self: Trainer, batch: list[dict[str, Any]]) -> int:
        stop = original(self, batch)
        return 15 if self.step == step else stop

    monkeypatch.setattr(Trainer, "train_step", with_signal)


@pytest.mark.slow
def test_train_evaluate_resume_predict(scenes: ScenePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = train(demo_config(scenes, tmp_path / "whole"))
    assert {"bbox/AP", "bbox/AP50", "segm/AP"} <= results.keys()
    assert (tmp_path / "whole" / "inference" / "coco_instances_results.json").is_file()
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "loss" in line]
    assert len(losses) == 4

    # resumed with other workers, from a process that was asked to stop between two periodic checkpoints
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(RunInterrupted):
            train(demo_config(scenes, tmp_path / "parts"))
    resumed = train(demo_config(scenes, tmp_path / "parts", "dataloader.train.num_workers=0"), resume=True)
    assert resumed == pytest.approx(results, abs=0, nan_ok=True)
    for part in ("model.", "ema.", "optimizer."):
        whole, parts = (
            read_tensors(step_path(tmp_path / name / "checkpoints", 4), part) for name in ("whole", "parts")
        )
        assert whole.keys() == parts.keys() != set()
        assert all(torch.equal(value, parts[name]) for name, value in whole.items())

    saved_config = load_config(tmp_path / "whole" / "config.yaml")
    again = evaluate(saved_config, step_path(tmp_path / "whole" / "checkpoints", 4))
    assert again == pytest.approx(results, nan_ok=True)

    predictor = Predictor.from_checkpoint(tmp_path / "parts" / "checkpoints" / "best.safetensors", device="cpu")
    found = predictor(next(scenes.val_images.iterdir()))
    assert found.image_size == (64, 64)
    assert predictor.categories is not None
    assert len(predictor.categories) == saved_config.model.num_classes

    other = write_scenes(tmp_path / "other", train=9, val=3, size=64, videos=0)
    with pytest.raises(RunDirectoryError, match=r"training data is not the same.*8 images there, 9 here"):
        train(demo_config(other, tmp_path / "whole"), resume=True)


@pytest.mark.slow
def test_processes_without_objects(scenes: ScenePaths, tmp_path: Path) -> None:
    """Only one image of eight has any: at most one of two processes sees some, and the other keeps pace."""
    truth = json.loads(scenes.train_json.read_text())
    first = truth["images"][0]["id"]
    truth["annotations"] = [entry for entry in truth["annotations"] if entry["image_id"] == first]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    dataset = "dataloader.train.dataset"
    few = [f"{dataset}.json_file={tmp_path / 'truth.json'}", f"{dataset}.skip_empty=false", "train.accumulate=1"]
    paths = []
    for parallel in ("ddp", "fsdp"):
        paths.append(tmp_path / f"{parallel}.yaml")
        save_config(demo_config(scenes, tmp_path / parallel, *few, f"train.parallel={parallel}"), paths[-1])
    launch(train_saved_configs, 2, paths, "gloo")
    for path in paths:
        losses = [line["loss"] for line in read_metrics(path.with_suffix("") / "metrics.jsonl") if "loss" in line]
        assert len(losses) == 4
        assert all(map(math.isfinite, losses))
