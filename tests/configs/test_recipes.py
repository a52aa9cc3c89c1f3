"""Every shipped recipe is loaded, validated, built and, where it is a released one, compared with the release."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from pe_dense.config import ConfigError, freeze_constants, from_yaml, instantiate, load_config, to_yaml
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import TrainSettings

ROOT = Path(__file__).resolve().parents[2] / "configs"
RECIPES = sorted(p for p in ROOT.rglob("*.py") if p.parent.name != "common")
NAMES = [str(p.relative_to(ROOT)) for p in RECIPES]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """A few scenes, reachable under COCO's folder names too."""
    root = tmp_path_factory.mktemp("data")
    write_scenes(root, train=4, val=2, size=64, videos=0)
    for part in ("train", "val"):
        (root / f"{part}2017").symlink_to(root / part)
        (root / f"annotations/instances_{part}2017.json").symlink_to(root / f"annotations/instances_{part}.json")
    return root


def overrides(path: Path, data_root: Path) -> list[str]:
    """What a user sets: where the data is; and no download of weights."""
    changes = [f"data.root={data_root}"]
    if path.parent.name == "custom":
        changes = [f"data.json={data_root}/annotations/instances_train.json", f"data.images={data_root}/train"]
    if OmegaConf.select(load_config(path, changes), "model.backbone.backbone.weights") is not None:
        changes.append("model.backbone.backbone.weights=null")
    return [
        *changes,
        "dataloader.train.num_workers=0",
        "dataloader.test.num_workers=0",
        "dataloader.train.batch_size=2",
    ]


def test_there_are_recipes():
    assert len(RECIPES) >= 12


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_recipe_builds(path, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path))
    cfg = load_config(path, overrides(path, data_root))
    with torch.device("meta"):
        model = instantiate(cfg.model)
        samples = [{"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}]
        assert model.preprocess(samples).tensor.shape[-1] % model.backbone.size_divisibility == 0
    optimizer = instantiate(cfg.optimizer)(model)
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {
        id(p) for p in model.parameters() if p.requires_grad
    }
    train = instantiate(cfg.dataloader.train)
    settings = instantiate(cfg.train)
    assert isinstance(settings, TrainSettings)
    assert settings.output_dir.startswith("output/")
    steps_per_epoch = 117266 / 64
    multiplier = instantiate(cfg.lr_schedule)(settings.total_steps(steps_per_epoch), steps_per_epoch)
    assert 0 < multiplier(10) <= 1
    assert len(next(train.iterate(0))) == 2
    assert [s["image_id"] for batch in instantiate(cfg.dataloader.test) for s in batch]
    instantiate(cfg.evaluator).reset()


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_recipe_survives_the_run_directory(path, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path))
    cfg = load_config(path, overrides(path, data_root))
    assert from_yaml(to_yaml(cfg)) == cfg
    frozen = freeze_constants(cfg)
    assert isinstance(frozen.model.num_classes, int)
    assert from_yaml(to_yaml(frozen)) == frozen


def test_own_data_needs_two_paths_only():
    with pytest.raises(ConfigError) as error:
        load_config(ROOT / "custom/mask_rcnn_small_scratch.py")
    assert "2 errors" in str(error.value)
    assert "data.json: must be set" in str(error.value)
    assert "data.images: must be set" in str(error.value)


RELEASED = [("coco/mask_rcnn_pe_spatial_g14_36ep.py", "coco36"), ("coco/mask_rcnn_pe_core_g14_75ep.py", "coco75")]


@pytest.mark.parametrize(("name", "key"), RELEASED)
def test_released_schedule(fixtures, name, key):
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    cfg = load_config(ROOT / name)
    multiplier = instantiate(cfg.lr_schedule)(cfg.train.steps, 117266 / 64)
    got = [multiplier(int(step)) for step in data[f"lr.{key}.iters"]]
    np.testing.assert_allclose(got, data[f"lr.{key}.mult"], rtol=1e-9)


@pytest.mark.parametrize(("name", "parameters"), zip([n for n, _ in RELEASED], [1_885_675_376, 1_885_521_776]))
def test_released_model_and_optimiser(name, parameters):
    cfg = load_config(ROOT / name, ["model.backbone.backbone.weights=null"])
    with torch.device("meta"):
        model = instantiate(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert (model.pixel_mean, model.pixel_std) == ((127.0,) * 3, (127.0,) * 3)
    groups = instantiate(cfg.optimizer)(model).param_groups
    assert len(groups) == 52
    assert {g["weight_decay"] for g in groups} == {0.1}
    rates = sorted(g["lr"] for g in groups)
    assert rates[0] == pytest.approx(5e-5 * 0.9**51)
    assert rates[-1] == pytest.approx(5e-5)
    assert cfg.dataloader.train.batch_size == 64
