"""The layer probe from config to picture, on a few tiny scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omegaconf import DictConfig

from pe_dense.config import LazyCall, load_config
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import Hook, train
from pe_dense.engine.checkpoint import load_checkpoint
from pe_dense.engine.trainer import Trainer
from pe_dense.modeling.classification import KnnClassifier
from pe_dense.prediction import layer_vectors
from pe_dense.prediction.probing import build_probe, probe_layers, run_probe, with_cache, with_encoder_of

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "dataloader.train.batch_size=2",
    "train.epochs=null",
    "train.steps=4",
    "train.checkpoint_steps=1",
    "train.device=cpu",
    "train.num_threads=1",
]
TINY_TOWER = ["embed_dim=32", "depth=3", "num_heads=2", "mlp_dim=64"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=4, val=2, size=64, videos=0).root


def recipe(name: str, scenes: Path, output: Path, *changes: str) -> DictConfig:
    tower = [f"model.model.backbone.backbone.{change}" for change in TINY_TOWER]
    places = [f"data.root={scenes}", f"train.output_dir={output}"]
    return load_config(ROOT / f"configs/probe/{name}.py", [*TINY, *tower, *places, *changes])


class _Power(Hook):
    """Goes off after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def after_step(self, trainer: Trainer) -> None:
        if trainer.step == self.steps:
            raise ConnectionError("power cut")


def weights(output: Path) -> dict[str, Any]:
    return {name: value.tolist() for name, value in load_checkpoint(output).weights.items() if "probes" in name}


@pytest.mark.parametrize("cached", [False, True])
def test_depth_probe_survives_a_power_cut_exactly(
    cached: bool, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def config(name: str) -> DictConfig:
        cfg = recipe("scenes_depth", scenes, tmp_path / name, "model.layers=[0,-1]")
        return with_cache(cfg, 1.0) if cached else cfg

    scores = probe_layers(config("whole"))
    assert scores.layers == [0, 2]
    with pytest.raises(ConnectionError):
        train(config("cut"), hooks=[_Power(3)])
    assert probe_layers(config("cut"), resume=True).scores == scores.scores
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    written = json.loads((tmp_path / "whole" / "scores.json").read_text())
    best = written["best"]["depth/rmse"]
    assert written["layers"][str(best)]["depth/rmse"] == min(scores.scores["depth/rmse"].values())
    assert (tmp_path / "cut" / "scores.csv").read_text() == (tmp_path / "whole" / "scores.csv").read_text()
    assert cv2.imread(str(tmp_path / "whole" / "scores.png")).shape[2] == 3
    assert len(list((tmp_path / "whole" / "features").glob("*/*.safetensors"))) == (4 if cached else 0)


def test_a_layer_learns_the_same_beside_others(scenes: Path, tmp_path: Path) -> None:
    """Although gradients are clipped, which would tie the layers to each other if it was done for all together."""
    for name, layers in (("one", "[0]"), ("two", "[0,2]")):
        cfg = recipe("scenes_depth", scenes, tmp_path / name, f"model.layers={layers}", "train.clip_norm=0.01")
        train(cfg)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one == {name: value for name, value in two.items() if name.startswith("probes.0.")}


def test_the_encoder_of_a_run(scenes: Path, tmp_path: Path) -> None:
    """Also of a run of another task, and of a probe."""
    train(recipe("scenes_sem_seg", scenes, tmp_path / "source", "model.layers=[1]", "train.steps=1"))
    source = load_checkpoint(tmp_path / "source").weights["backbone.backbone.conv1.weight"]
    cfg = with_encoder_of(recipe("scenes_depth", scenes, tmp_path / "probe", "train.seed=3"), tmp_path / "source")
    assert cfg.model.model.backbone.backbone.depth == 3
    assert (build_probe(cfg).backbone.backbone.conv1.weight == source).all()
    scores = probe_layers(cfg, metrics=["depth/delta1"])
    assert scores.layers == [0, 1, 2]
    assert (load_checkpoint(tmp_path / "probe").weights["backbone.backbone.conv1.weight"] == source).all()
    with pytest.raises(ValueError, match="metric depth/nothing is unknown: choose one of depth/"):
        probe_layers(cfg, resume=True, metrics=["depth/nothing"])


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark pictures, which any encoder tells apart."""
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for part, count in (("train", 5), ("val", 2)):
        for name, low in (("bright", 170), ("dark", 0)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(low, low + 80, (40, 48, 3), dtype=np.uint8)
                cv2.imwrite(str(root / part / name / f"{i}.png"), pixels)
    return root


def class_recipe(classes: Path, output: Path, *changes: str) -> DictConfig:
    tower = {"_target_": "pe_dense.modeling.backbone.vit.PerceptionEncoder", "patch_size": 8, "grid_size": 4,
             "use_cls_token": True, **{k: int(v) for k, v in (c.split("=") for c in TINY_TOWER)}}  # fmt: skip
    places = [f"data.train={classes}/train", f"data.val={classes}/val", f"train.output_dir={output}"]
    sizes = ["data.short_side=36", "data.crop_size=32", "model.layers=[0,2]", *changes]
    cfg = load_config(ROOT / "configs/probe/custom_classes.py", [*TINY, *places, *sizes])
    cfg.model.model.backbone.backbone = tower
    return cfg


def test_classification(classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_vectors, "CHUNK", 4)
    cfg = class_recipe(classes, tmp_path)
    linear, neighbours, statistics = run_probe(cfg, images=3)
    assert linear.headlines == ["classification/top1"]
    assert neighbours.scores == {"knn/top1": {0: 100.0, 2: 100.0}, "knn/top5": {0: 100.0, 2: 100.0}}
    assert set(statistics.scores) > {"norm/mean", "tokens/global", "rank/effective", "attention/distance_px"}
    assert statistics.best("norm/mean") is None
    for name in ("scores", "knn", "statistics"):
        assert all((tmp_path / f"{name}.{kind}").is_file() for kind in ("json", "csv", "png"))


def test_neighbours_go_on_where_they_were(classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that are there are not computed again, unless what they depend on has changed."""
    monkeypatch.setattr(layer_vectors, "CHUNK", 4)
    cfg = class_recipe(classes, tmp_path / "run", "model.model.pooling=mean")
    [whole] = run_probe(cfg, ["knn"])
    files = sorted((tmp_path / "run" / "knn").glob("*"))
    assert [f.name for f in files] == [f"{n}_{i:08d}.safetensors" for n, i in
                                       (("test", 0), ("train", 0), ("train", 4), ("train", 8))]  # fmt: skip
    content = {f: f.read_bytes() for f in files}
    files[1].unlink()
    files[2].write_bytes(content[files[2]][:100])
    before = files[3].stat().st_mtime_ns
    assert run_probe(cfg, ["knn"])[0].scores == whole.scores
    assert {f: f.read_bytes() for f in files} == content
    assert files[3].stat().st_mtime_ns == before
    cfg.model.model.pooling = "cls"
    run_probe(cfg, ["knn"])
    assert files[3].stat().st_mtime_ns > before
    files[0].unlink()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layer_vectors, "save_file", fail)
    with pytest.raises(ValueError, match=r"could not write .*test_00000000.safetensors"):
        run_probe(cfg, ["knn"])


def test_what_cannot_be_done(classes: Path, scenes: Path, tmp_path: Path) -> None:
    cfg = recipe("scenes_depth", scenes, tmp_path / "probe")
    with pytest.raises(ValueError, match="the config has no knn"):
        run_probe(cfg, ["knn"])
    with pytest.raises(ValueError, match="statistics of 0 images"):
        run_probe(cfg, ["statistics"], images=0)
    with pytest.raises(ValueError, match="nearest neighbours need an ImageClassifier, the probe has a DepthEstimator"):
        run_probe(DictConfig({**cfg, "knn": LazyCall(KnnClassifier)()}), ["knn"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        with_encoder_of(cfg, tmp_path / "nowhere")
    cfg.model = cfg.model.model
    with pytest.raises(ValueError, match="the config's model is a DepthEstimator, not a LayerProbe"):
        build_probe(cfg)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), [("scenes_sem_seg", "sem_seg/mIoU"), ("scenes_detection", "bbox/AP")])
def test_other_tasks(name: str, metric: str, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    scores = probe_layers(recipe(name, scenes, tmp_path / "probe", "model.layers=[0,2]", "train.steps=1"))
    assert scores.layers == [0, 2]
    assert scores.headlines == [metric]
    assert (tmp_path / "probe" / "scores.png").is_file()
