"""The recipe of LVIS at a tiny size: train, stop, resume to the same weights, evaluate."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from pe_dense.config import ConfigError, load_config
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import RunInterrupted, read_metrics, train
from pe_dense.engine.sharded import read_tensors, step_path
from pe_dense.engine.trainer import Trainer

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "lvis" / "mask_rcnn_pe_spatial_t16_75ep.py"


def lvis_config(root: Path, output_dir: Path) -> DictConfig:
    return load_config(RECIPE, [
        f"data.root={root}", f"data.images={root}", f"train.output_dir={output_dir}", "data.image_size=64",
        "train.epochs=null", "train.steps=2", "train.checkpoint_steps=1", "train.eval_period=0", "train.log_period=1",
        "train.device=cpu", "train.precision=fp32", "lr_schedule.milestones=[]", "lr_schedule.warmup_steps=1",
        "dataloader.train.batch_size=2", "dataloader.train.num_workers=0", "dataloader.test.num_workers=0",
        "dataloader.train.repeat_threshold=0.9", "model.num_classes=40", "model.class_loss.num_sampled=10",
        "model.backbone.backbone.weights=null", "model.backbone.backbone.depth=1", "model.fc_dim=16",
        "model.backbone.backbone.global_blocks=[0]", "model.conv_dim=16",
    ])  # fmt: skip


@pytest.fixture
def lvis_root(tmp_path: Path) -> Path:
    """Scenes under LVIS's names, with 40 classes of which most have no object."""
    scenes = write_scenes(tmp_path / "data", train=4, val=2, size=64, videos=0)
    for part, file in (("train", scenes.train_json), ("val", scenes.val_json)):
        (scenes.root / f"{part}2017").symlink_to(scenes.root / part)
        content = json.loads(file.read_text())
        used = content["categories"]
        content["categories"] = [
            {**c, "frequency": "rcf"[i % 3], "image_count": 5 + i}
            for i, c in enumerate([*used, *({"id": 100 + n, "name": f"other {n}"} for n in range(40 - len(used)))])
        ]
        for row in content["images"]:
            row["coco_url"] = f"http://images.cocodataset.org/{part}2017/{row.pop('file_name')}"
            row.update(neg_category_ids=[100, 101], not_exhaustive_category_ids=[])
        (scenes.root / f"lvis_v1_{part}.json").write_text(json.dumps(content))
    return scenes.root


@pytest.mark.slow
def test_train_resume_evaluate(lvis_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    results = train(lvis_config(lvis_root, tmp_path / "whole"))
    assert {"bbox/AP", "bbox/APr", "segm/APf", "bbox/AR300"} <= results.keys()
    losses = [line for line in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "loss" in line]
    assert len(losses) == 2
    assert 5 < losses[0]["loss_cls"] < 9  # 10 classes, or 9 beside background, near log 2 each
    saved = (tmp_path / "whole" / "config.yaml").read_text()
    assert "class_image_counts" not in saved  # the numbers themselves: the json is not needed again

    original = Trainer.train_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", lambda trainer, batch: original(trainer, batch) or 15)
        with pytest.raises(RunInterrupted):
            train(lvis_config(lvis_root, tmp_path / "parts"))
    assert train(lvis_config(lvis_root, tmp_path / "parts"), resume=True) == pytest.approx(results, abs=0, nan_ok=True)
    whole, parts = (read_tensors(step_path(tmp_path / n / "checkpoints", 2), "model.") for n in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert "roi_heads.box_predictor.class_loss.class_weights" in whole


def test_masks_that_nobody_predicts(lvis_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    cfg = lvis_config(lvis_root, tmp_path / "run")
    cfg.model.with_masks = False
    with pytest.raises(ConfigError, match=r"the model predicts no masks: set evaluator\.tasks=\[bbox\]"):
        train(cfg)
    assert not (tmp_path / "run").exists()
