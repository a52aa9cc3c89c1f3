"""The recipes that propagate masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pe_dense.config import from_yaml, instantiate, load_config, to_yaml
from pe_dense.engine import RunSettings, TrainSettings
from pe_dense.modeling.tracking import LabelPropagation, LearnedTracker, TrackerProbe, VideoObjectTracker

ROOT = Path(__file__).resolve().parents[2] / "configs" / "davis"
RECIPES = sorted(ROOT.glob("propagation_*.py"))
PROBES = sorted({*ROOT.parent.glob("probe/davis_*.py"), *ROOT.parent.glob("probe/*_tracking.py")})
LEARNT = sorted(ROOT.glob("projection_*.py"))


def test_there_are_recipes():
    assert len(RECIPES) >= 5
    assert len(PROBES) >= 7
    assert len(LEARNT) >= 4


@pytest.mark.parametrize("path", RECIPES, ids=[p.stem for p in RECIPES])
def test_recipe(path):
    cfg = load_config(path)
    tower = cfg.model.backbone.backbone
    assert tower.weights.lower().replace("-", "_") == tower._target_.rpartition(".")[2]
    assert tower.weights.split("-")[2].lower() == path.stem.rpartition("_")[2]
    assert from_yaml(to_yaml(cfg)) == cfg
    with torch.device("meta"):
        tracker = instantiate(load_config(path, ["model.backbone.backbone.weights=null"]).model)
    assert isinstance(tracker, VideoObjectTracker)
    preset = LabelPropagation.dinov3() if "dinov3" in path.stem else LabelPropagation.dino()
    assert tracker.propagation == preset
    assert not any(p.requires_grad for p in tracker.parameters())


@pytest.mark.parametrize("path", PROBES, ids=[p.stem for p in PROBES])
def test_probe(path):
    """All layers of the named tower, DINO's numbers; nothing but where the data is has to be set."""
    places = ["data.images=frames", "data.masks=masks"] if path.stem.startswith("custom") else []
    cfg = load_config(path, places)
    assert from_yaml(to_yaml(cfg)) == cfg
    tower = cfg.model.model.backbone.backbone
    if tower.get("weights") is not None:
        assert tower.weights.lower().replace("-", "_") == tower._target_.rpartition(".")[2]
    if path.stem.startswith("davis"):
        family, size = path.stem.split("_")[2:]
        assert tower.weights.lower().split("-")[1:3] == [family, size]
        assert (cfg.videos.root, cfg.videos.split, cfg.videos.resolution) == ("datasets/DAVIS", "val", "480p")
    no_download = ["model.model.backbone.backbone.weights=null"] if "weights" in tower else []
    with torch.device("meta"):
        probe = instantiate(load_config(path, places + no_download).model)
    assert isinstance(probe, TrackerProbe)
    assert len(probe.layers) == probe.backbone.backbone.depth
    expected = LabelPropagation.dino()
    assert probe.propagation == (replace(expected, short_side=192) if path.stem.startswith("scenes") else expected)
    assert not any(p.requires_grad for p in probe.parameters())
    settings = instantiate(cfg.train)
    assert isinstance(settings, RunSettings)
    assert settings.output_dir == f"output/probe_{path.stem}"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("propagation_pe_spatial_t16.py", ["backbone.depth=1", "backbone.weights=null", "layers=[0]"]),
        ("colors.py", ["patch_size=8"]),
    ],
)
def test_recipe_runs(name, changes):
    changes = [f"model.backbone.{change}" for change in changes]
    tracker = instantiate(load_config(ROOT / name, ["model.propagation.short_side=64", *changes]).model)
    frame = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    masks = np.zeros((50, 70), np.uint8)
    masks[10:40, 10:40] = 4
    tracker.init(frame, masks)
    assert set(np.unique(tracker.step(frame))) <= {0, 4}


@pytest.mark.parametrize("path", LEARNT, ids=[p.stem for p in LEARNT])
def test_recipe_of_a_projection(path):
    """What trains is the projection alone; all else is the training-free recipe of the same encoder."""
    cfg, free = load_config(path), load_config(path.with_name(path.name.replace("projection", "propagation")))
    assert from_yaml(to_yaml(cfg)) == cfg
    for key in ("propagation", "pixel_mean", "pixel_std"):
        assert cfg.model[key] == free.model[key]
    for key in ("backbone", "layers", "norm"):
        assert cfg.model.backbone[key] == free.model.backbone[key]
    with torch.device("meta"):
        tracker = instantiate(load_config(path, ["model.backbone.backbone.weights=null"]).model)
    assert isinstance(tracker, LearnedTracker)
    trained = {name for name, p in tracker.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("backbone.projection.") for name in trained)
    settings = instantiate(cfg.train)
    assert isinstance(settings, TrainSettings)
    assert settings.output_dir == f"output/davis_{path.stem}"
    assert cfg.dataloader.train.dataset.videos.split == "train"
    assert cfg.dataloader.test.dataset.videos.split == "val"
    assert instantiate(cfg.optimizer)(tracker).param_groups[0]["lr"] == cfg.optimizer.lr
