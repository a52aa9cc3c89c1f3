"""The recipes that propagate masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pe_dense.config import from_yaml, instantiate, load_config, to_yaml
from pe_dense.engine import RunSettings
from pe_dense.modeling.tracking import LabelPropagation, TrackerProbe, VideoObjectTracker

ROOT = Path(__file__).resolve().parents[2] / "configs" / "davis"
RECIPES = sorted(ROOT.glob("propagation_*.py"))
PROBES = sorted({*ROOT.parent.glob("probe/davis_*.py"), *ROOT.parent.glob("probe/*_tracking.py")})


def test_there_are_recipes():
    assert len(RECIPES) >= 5
    assert len(PROBES) >= 7


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


def test_recipe_runs():
    small = ["depth=1", "weights=null"]
    changes = [f"model.backbone.backbone.{change}" for change in small]
    changes += ["model.propagation.short_side=64", "model.backbone.layers=[0]"]
    tracker = instantiate(load_config(ROOT / "propagation_pe_spatial_t16.py", changes).model)
    frame = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    masks = np.zeros((50, 70), np.uint8)
    masks[10:40, 10:40] = 4
    tracker.init(frame, masks)
    assert set(np.unique(tracker.step(frame))) <= {0, 4}
