"""Every shipped recipe is loaded, validated, built and, where it is a released one, compared with the release."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from pe_dense.config import (
    ConfigError,
    format_config,
    freeze_constants,
    from_yaml,
    instantiate,
    load_config,
    save_config,
    to_yaml,
)
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import TrainSettings

ROOT = Path(__file__).resolve().parents[2] / "configs"
RECIPES = sorted(p for p in ROOT.rglob("*.py") if p.parent.name != "common")
NAMES = [str(p.relative_to(ROOT)) for p in RECIPES]
CUSTOM = [p for p in RECIPES if p.parent.name == "custom"]


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


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_optimiser_and_schedule_are_those_of_the_recipe(path, data_root, tmp_path, monkeypatch):
    """The head learns at the recipe's rate and deeper layers slower; the schedule warms up, is 1 and ends low."""
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path))
    cfg = load_config(path, overrides(path, data_root))
    with torch.device("meta"):
        model = instantiate(cfg.model)
    groups = instantiate(cfg.optimizer)(model).param_groups
    rates = {g["lr"] for g in groups}
    assert max(rates) == pytest.approx(cfg.optimizer.lr)
    trained_blocks = sum(any(p.requires_grad for p in b.parameters()) for b in model.backbone.backbone.blocks)
    assert len(rates) >= (trained_blocks if cfg.optimizer.get("layer_decay") else 1)
    assert {g["weight_decay"] for g in groups} <= {0, cfg.optimizer.weight_decay}
    settings = instantiate(cfg.train)
    steps = settings.total_steps(117266 / 64)
    multiplier = instantiate(cfg.lr_schedule)(steps, 117266 / 64)
    values = [multiplier(step) for step in (0, steps // 100, steps - 1)]
    assert values[0] < 0.1
    assert values[1] == pytest.approx(1, abs=0.01)
    assert values[2] < 0.02


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_named_weights_are_those_of_the_tower(path):
    backbone = load_config(path, allow_unset=True).model.backbone.backbone
    if backbone.get("weights") is not None:
        assert backbone.weights.lower().replace("-", "_") == backbone._target_.rpartition(".")[2]


def test_own_data_needs_two_paths_only():
    with pytest.raises(ConfigError) as error:
        load_config(ROOT / "custom/mask_rcnn_small_scratch.py")
    assert "2 errors" in str(error.value)
    assert "data.json: must be set" in str(error.value)
    assert "data.images: must be set" in str(error.value)


@pytest.mark.parametrize("path", CUSTOM, ids=[p.name for p in CUSTOM])
def test_own_data_can_be_looked_at_before_the_paths_are_given(path):
    cfg = load_config(path, allow_unset=True)
    lines = [line.strip() for line in format_config(cfg).splitlines()]
    assert lines.count("json: ???") == lines.count("images: ???") == 1
    assert "image_root: ???" in lines
    with pytest.raises(ConfigError, match=r"^data\.json: must be set; add data\.json=VALUE to the command line$"):
        instantiate(cfg.model)
    with pytest.raises(ConfigError, match=r"^2 errors in the config:\n.* data\.json: must .*\n.* data\.images: must "):
        instantiate(cfg.dataloader.train)
    cfg = load_config(path, ["model.num_classes=20", "model.with_masks=true"], allow_unset=True)
    if "weights" in cfg.model.backbone.backbone:
        cfg.model.backbone.backbone.weights = None
    with torch.device("meta"):
        assert instantiate(cfg.model).num_classes == 20


@pytest.mark.parametrize(
    ("tool", "status", "text"),
    [
        (["train_net.py", "--print-config"], 0, "json: ???"),
        (["analyze_model.py"], 2, "error: data.json: must be set; add data.json=VALUE to the command line\n"),
    ],
)
def test_tools_without_the_paths(tool, status, text, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [*tool, "--config-file", str(ROOT / "custom/mask_rcnn_small_scratch.py")])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT.parent / "tools" / tool[0]), run_name="__main__")
    assert left.value.code == status
    printed = capsys.readouterr()
    assert text in printed.out + printed.err


@pytest.mark.parametrize("path", CUSTOM, ids=[p.name for p in CUSTOM])
def test_own_data_with_boxes_only(path, data_root, tmp_path, monkeypatch):
    """Masks are trained and evaluated where there are some, and nothing has to be said about it."""
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    changes = overrides(path, data_root)
    cfg = freeze_constants(load_config(path, changes))
    assert cfg.model.with_masks is True
    assert instantiate(cfg.evaluator)._truth.tasks == ("bbox", "segm")
    content = json.loads((data_root / "annotations/instances_train.json").read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    cfg = freeze_constants(load_config(path, [*changes, f"data.json={tmp_path}/boxes.json"]))
    assert cfg.model.with_masks is False
    with torch.device("meta"):
        assert instantiate(cfg.model).roi_heads.mask_head is None
    assert next(instantiate(cfg.dataloader.train).iterate(0))[0]["instances"].masks is None
    assert instantiate(cfg.evaluator)._truth.tasks == ("bbox",)


@pytest.mark.parametrize("path", CUSTOM, ids=[p.name for p in CUSTOM])
def test_a_saved_config_follows_the_place_of_the_data(path, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    cfg = freeze_constants(load_config(path, overrides(path, data_root)))
    save_config(cfg, tmp_path / "config.yaml")
    (tmp_path / "moved.json").write_text((data_root / "annotations/instances_train.json").read_text())
    separate = [f"data.val_json={data_root}/annotations/instances_val.json", f"data.val_images={data_root}/val"]
    for changes, expected in (([], "moved.json"), (separate, "instances_val.json")):
        again = load_config(tmp_path / "config.yaml", [f"data.json={tmp_path}/moved.json", *changes])
        assert again.model.num_classes == cfg.model.num_classes
        assert instantiate(again.dataloader.train.dataset).json_file.name == "moved.json"
        assert instantiate(again.dataloader.test.dataset).json_file.name == expected
        assert instantiate(again.evaluator)._truth.path.name == expected


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
