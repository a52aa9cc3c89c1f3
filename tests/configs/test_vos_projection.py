"""The recipe of a projection: trained end to end on small scenes, resumed exactly, evaluated, and used by the tools."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pe_dense.config import load_config
from pe_dense.data import DAVIS2017, read_indexed_png
from pe_dense.data.scenes import ScenePaths, write_scenes
from pe_dense.engine import RunInterrupted, evaluate, read_metrics, train
from pe_dense.engine.sharded import read_tensors, step_path
from pe_dense.engine.trainer import Trainer
from pe_dense.evaluation import vos_metrics
from pe_dense.prediction import TrackerSource, track_set

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "scenes" / "vos_projection.py"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=0, val=0, size=64, videos=1)


def config(scenes: ScenePaths, output: Path, *more: str):
    return load_config(RECIPE, [
        f"data.train={scenes.davis}", f"data.test={scenes.davis}", f"train.output_dir={output}", "train.epochs=null",
        "train.steps=4", "train.checkpoint_steps=2", "train.log_period=1", "train.device=cpu", "train.init_from=null",
        "train.init_skip=[]", "train.accumulate=2", "dataloader.train.batch_size=4", "dataloader.train.clip_length=2",
        "dataloader.train.num_workers=0", "dataloader.test.num_workers=0", "dataloader.train.transforms.1.size=48",
        "model.propagation.short_side=48", "model.propagation.long_multiple=0", "model.propagation.radius=3",
        "model.backbone.backbone.depth=1", "lr_schedule.warmup_steps=1", *more,
    ])  # fmt: skip


def test_train_resume_evaluate_track(scenes: ScenePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = train(config(scenes, tmp_path / "whole"))
    assert 0 < results["vos/J&F"] < 100
    assert (tmp_path / "whole/inference/vos/vos.json").is_file()
    losses = [line["loss_propagation"] for line in read_metrics(tmp_path / "whole/metrics.jsonl") if "loss" in line]
    assert len(losses) == 4

    original = Trainer.train_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step",
                      lambda self, batch: original(self, batch) or (15 if self.step == 3 else 0))  # fmt: skip
        with pytest.raises(RunInterrupted):
            train(config(scenes, tmp_path / "cut"))
    assert train(config(scenes, tmp_path / "cut"), resume=True) == results
    states = [read_tensors(step_path(tmp_path / name / "checkpoints", 4), "") for name in ("whole", "cut")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

    trained = states[0]["model.backbone.projection.out.weight"]
    assert trained.abs().max() > 1e-4
    frozen = [name for name in states[0] if name.startswith("optimizer.backbone.backbone")]
    assert not frozen
    again = evaluate(config(scenes, tmp_path / "whole"), output=tmp_path / "again")
    assert again == results

    done = track_set(TrackerSource.find(checkpoint=tmp_path / "whole"), DAVIS2017(scenes.davis), tmp_path / "masks")
    assert vos_metrics(done.scores)["vos/J&F"] == pytest.approx(results["vos/J&F"], abs=1e-9)
    first = read_indexed_png(done.masks / "scene_000/00000.png")
    assert np.array_equal(first, read_indexed_png(scenes.davis / "Annotations/480p/scene_000/00000.png"))


def test_the_recipe_starts_from_the_demo() -> None:
    cfg = load_config(RECIPE)
    demo = load_config(RECIPE.parents[1] / "demo" / "mask_rcnn_scenes.py", allow_unset=True)
    assert cfg.model.backbone.backbone == demo.model.backbone.backbone
    assert cfg.train.init_from == demo.train.output_dir
    assert cfg.model.pixel_mean == demo.model.pixel_mean
    assert cfg.data.train != cfg.data.test
