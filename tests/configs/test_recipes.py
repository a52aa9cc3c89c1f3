"""Every shipped recipe is loaded, validated, built and, where it is a released one, compared with the release."""

import json
import runpy
from contextlib import nullcontext
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
from pe_dense.engine import TrainSettings
from pe_dense.engine.build import build_evaluation
from pe_dense.engine.resume import check_labels

ROOT = Path(__file__).resolve().parents[2] / "configs"
# those of videos have tests of their own
VIDEOS = {*ROOT.glob("davis/*.py"), *ROOT.glob("probe/davis_*.py"), *ROOT.glob("probe/*_tracking.py")}
VIDEOS.add(ROOT / "scenes" / "vos_projection.py")
RECIPES = sorted(p for p in ROOT.rglob("*.py") if p.parent.name != "common" and p not in VIDEOS)
NAMES = [str(p.relative_to(ROOT)) for p in RECIPES]
CUSTOM = [p for p in RECIPES if p.parent.name == "custom"]
CUSTOM_COCO = [p for p in CUSTOM if p.stem.startswith("mask_rcnn")]
CUSTOM_DENSE = [p for p in CUSTOM if p not in CUSTOM_COCO]
OWN = {
    "coco": {"data.json": "annotations/instances_train.json", "data.images": "train"},
    "depth": {"data.images": "train", "data.depths": "depth_train"},
    "sem_seg": {
        "data.images": "train", "data.masks": "sem_seg_train", "data.classes": "annotations/sem_seg_classes.json",
    },
    "classes": {"data.train": "../imagenet/train", "data.val": "../imagenet/val"},
}  # fmt: skip
STEPS_PER_EPOCH = 117266 / 64


def kind(path: Path) -> str:
    """Which of the kinds of own data a recipe of ``custom`` reads."""
    return "coco" if path in CUSTOM_COCO else next(k for k in OWN if k in path.stem)


def is_tracking(path: Path) -> bool:
    """Whether a recipe's model is put on a detector."""
    return path.stem.startswith("track_")


def is_probe(path: Path) -> bool:
    """Whether a recipe's model is put on every layer."""
    return path.parent.name == "probe"


@pytest.fixture(scope="module")
def data_root(datasets) -> Path:
    """A few scenes, under COCO's folder names too."""
    return datasets / "coco"


def overrides(path: Path, data_root: Path) -> list[str]:
    """What a user sets: where the data is; and no download of weights."""
    folders = {"coco": "coco", "demo": "coco", "scenes": "coco", "voc": "VOC2012", "multitask": "coco"}
    name = path.stem.split("_")[0] if is_probe(path) else path.parent.name
    changes = [f"data.root={data_root.parent / folders.get(name, name)}"]
    sources = [name for name in ("coco", "ade20k", "nyu") if path.stem.startswith("coco_ade20k_nyu")]
    if sources:
        changes = [f"data.{name}={data_root.parent / name}" for name in sources]
    if name == "custom":
        changes = [f"{key}={data_root / value}" for key, value in OWN[kind(path)].items()]
    if name == "lvis":
        changes.append(f"data.images={data_root}")
    if is_tracking(path):
        changes.append(f"data.train={data_root}/videos/mot")
    key = encoder_key(path)
    if OmegaConf.select(load_config(path, changes), f"{key}.weights") is not None:
        changes.append(f"{key}.weights=null")
    return [
        *changes,
        "dataloader.train.num_workers=0",
        "dataloader.test.num_workers=0",
        f"dataloader.train.batch_size={4 if sources else 2}",
    ]


def encoder_key(path: Path) -> str:
    """Where the recipe's config has its encoder."""
    if is_tracking(path):
        return "model.detector.backbone.backbone"
    special = {"multitask": "model.encoder", "probe": "model.model.backbone.backbone"}
    return special.get(path.parent.name, "model.backbone.backbone")


def test_there_are_recipes():
    assert len(RECIPES) >= 35


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_recipe_builds(path, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path))
    cfg = load_config(path, overrides(path, data_root))
    with torch.device("meta"):
        model = instantiate(cfg.model)
        samples = [{"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}]
        images = model.preprocess(samples).tensor
        assert images.shape[-1] % model.backbone.size_divisibility == 0
        with monkeypatch.context() as patch:
            patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # does not know the meta device
            if is_probe(path):
                assert len(model.probes) == model.backbone.backbone.depth
                for probe, layer in zip(model.probes.values(), model.backbone(images)):
                    features = probe.backbone.from_layers([layer])
                    if hasattr(probe, "pooling"):
                        assert len(probe.eval().from_features(features, [(64, 64)], samples)) == 1
                    elif hasattr(probe, "head"):
                        assert probe.head(features).shape[0] == 1
            elif path.parent.name not in ("coco", "demo", "lvis", "multitask") and not hasattr(model, "roi_heads"):
                assert model.head(model.backbone(images)).shape[0] == 1
    optimizer = instantiate(cfg.optimizer)(model)
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {
        id(p) for p in model.parameters() if p.requires_grad
    }
    train = instantiate(cfg.dataloader.train)
    settings = instantiate(cfg.train)
    assert isinstance(settings, TrainSettings)
    assert settings.output_dir.startswith("output/")
    multiplier = instantiate(cfg.lr_schedule)(settings.total_steps(STEPS_PER_EPOCH), STEPS_PER_EPOCH)
    assert 0 < multiplier(10) <= 1
    assert len(next(train.iterate(0))) == cfg.dataloader.train.batch_size
    check_labels(model, train.dataset)
    assert [s["image_id"] for batch in instantiate(cfg.dataloader.test) for s in batch]
    build_evaluation(cfg, tmp_path).evaluator.reset()


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_recipe_survives_the_run_directory(path, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path))
    cfg = load_config(path, overrides(path, data_root))
    assert from_yaml(to_yaml(cfg)) == cfg
    frozen = freeze_constants(cfg)
    assert isinstance(frozen.model.get("num_classes", 0), int)
    assert from_yaml(to_yaml(frozen)) == frozen


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_optimiser_and_schedule_are_those_of_the_recipe(path, data_root, tmp_path, monkeypatch):
    """The head learns at the recipe's rate and deeper layers slower; the schedule warms up, is high and ends low."""
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
    steps = settings.total_steps(STEPS_PER_EPOCH)
    multiplier = instantiate(cfg.lr_schedule)(steps, STEPS_PER_EPOCH)
    values = [multiplier(step) for step in range(0, steps, max(1, steps // 1000))]
    assert values[0] < 0.1
    assert 0.6 < max(values) <= 1
    assert multiplier(steps - 1) < 0.02


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_named_weights_are_those_of_the_tower(path):
    backbone = OmegaConf.select(load_config(path, allow_unset=True), encoder_key(path))
    if backbone.get("weights") is not None:
        assert backbone.weights.lower().replace("-", "_") == backbone._target_.rpartition(".")[2]


def test_own_data_needs_two_paths_only():
    with pytest.raises(ConfigError) as error:
        load_config(ROOT / "custom/mask_rcnn_small_scratch.py")
    assert "2 errors" in str(error.value)
    assert "data.json: must be set" in str(error.value)
    assert "data.images: must be set" in str(error.value)


@pytest.mark.parametrize("path", CUSTOM_COCO, ids=[p.name for p in CUSTOM_COCO])
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


@pytest.mark.parametrize("path", CUSTOM_COCO, ids=[p.name for p in CUSTOM_COCO])
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


@pytest.mark.parametrize("path", CUSTOM_COCO, ids=[p.name for p in CUSTOM_COCO])
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


@pytest.mark.parametrize("path", CUSTOM_DENSE, ids=[p.name for p in CUSTOM_DENSE])
def test_own_dense_data(path, data_root):
    """Nothing but the paths has to be set; a share is held out unless there is a separate set."""
    with pytest.raises(ConfigError) as error:
        load_config(path)
    needed = {key for key in OWN[kind(path)] if key != "data.depths"}  # a list names both
    assert {key for key in OWN[kind(path)] if f"{key}: must be set" in str(error.value)} == needed
    changes = overrides(path, data_root)
    cfg = load_config(path, changes)
    train, test = (instantiate(cfg.dataloader[part].dataset) for part in ("train", "test"))
    assert (len(train), len(test)) == (3, 1)
    assert not {p.image for p in train.pairs} & {p.image for p in test.pairs}
    assert instantiate(cfg.evaluator).dataset.pairs == test.pairs
    separate = [f"data.val_images={data_root}/val"]
    separate += [f"{key.replace('.', '.val_')}={data_root / value.replace('train', 'val')}"
                 for key, value in OWN[kind(path)].items() if key in ("data.depths", "data.masks")]  # fmt: skip
    cfg = load_config(path, [*changes, *separate])
    assert [len(instantiate(cfg.dataloader[part].dataset)) for part in ("train", "test")] == [4, 2]


@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("nyu/linear1_pe_spatial_b16.py", "depth", "dinov2_nyu_lr_schedule_mmcv1"),
        ("kitti/dpt_pe_spatial_b16.py", "depth", "dinov2_nyu_lr_schedule_mmcv1"),
        ("ade20k/linear_pe_spatial_b16.py", "segmentation", "dinov2_linear_lr_mmcv1_poly"),
        ("voc/linear_ms_pe_spatial_b16.py", "segmentation", "dinov2_linear_lr_mmcv1_poly"),
    ],
)
def test_published_schedules(fixtures, name, file, key):
    expected = json.loads((fixtures / file / "expected.json").read_text())[key]["lr_at_step"]
    cfg = load_config(ROOT / name)
    multiplier = instantiate(cfg.lr_schedule)(cfg.train.steps, STEPS_PER_EPOCH)
    for step, rate in expected.items():
        assert cfg.optimizer.lr * multiplier(int(step)) == pytest.approx(rate, rel=1e-6)


def test_published_linear_protocols():
    """What DINOv2's recipes print, beside the schedule."""
    nyu, kitti = (load_config(ROOT / name / "dpt_pe_spatial_b16.py") for name in ("nyu", "kitti"))
    assert [cfg.dataloader.train.transforms[-2]["size"] for cfg in (nyu, kitti)] == [[416, 544], [352, 704]]
    assert [cfg.model.max_depth for cfg in (nyu, kitti)] == [10, 80]
    assert [cfg.evaluator.crop for cfg in (nyu, kitti)] == ["eigen_nyu", "garg"]
    assert [cfg.optimizer[key] for cfg in (nyu, kitti) for key in ("lr", "weight_decay")] == [1e-4, 0.01] * 2
    assert (nyu.train.clip_norm, nyu.train.steps, nyu.dataloader.train.batch_size) == (35, 38400, 16)
    single, several = (load_config(ROOT / f"ade20k/linear{ms}_pe_spatial_b16.py") for ms in ("", "_ms"))
    settings = [(c.model.inference.crop, c.model.inference.stride, c.data.short_side) for c in (single, several)]
    assert settings == [(512, 341, 512), (640, 320, 640)]
    assert several.model.inference.scales == [1.0, 1.32, 1.73, 2.28, 3.0]
    assert [c.dataloader.train.transforms[1].max_scale for c in (single, several)] == [2.0, 3.0]
    assert (single.optimizer.lr, single.optimizer.weight_decay, single.train.steps) == (1e-3, 1e-4, 40000)


RELEASED = [
    ("coco/mask_rcnn_pe_spatial_g14_36ep.py", "coco36", 1_885_675_376),
    ("coco/mask_rcnn_pe_core_g14_75ep.py", "coco75", 1_885_521_776),
    ("lvis/mask_rcnn_pe_spatial_g14_75ep.py", "coco75", 1_891_719_362),
    ("lvis/mask_rcnn_pe_core_g14_75ep.py", "coco75", 1_891_565_762),
]


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, key, _ in RELEASED])
def test_released_schedule(fixtures, name, key):
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    cfg = load_config(ROOT / name)
    multiplier = instantiate(cfg.lr_schedule)(cfg.train.steps, 117266 / 64)
    got = [multiplier(int(step)) for step in data[f"lr.{key}.iters"]]
    np.testing.assert_allclose(got, data[f"lr.{key}.mult"], rtol=1e-9)


@pytest.mark.parametrize(("name", "parameters"), [(name, parameters) for name, _, parameters in RELEASED])
def test_released_model_and_optimiser(name, parameters):
    changes = ["model.class_loss.image_counts=null"] if name.startswith("lvis") else []
    cfg = load_config(ROOT / name, ["model.backbone.backbone.weights=null", *changes])
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
    assert cfg.dataloader.train.transforms[1].shared_offset


@pytest.mark.parametrize("path", sorted(ROOT.glob("lvis/*.py")), ids=lambda path: path.stem)
def test_lvis(path, data_root, tmp_path, monkeypatch):
    """What all released LVIS recipes set; class weights from the json, which a run's config then keeps."""
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path))
    cfg = freeze_constants(load_config(path, overrides(path, data_root)))
    assert cfg.dataloader.train.repeat_threshold == 0.001
    assert (cfg.model.num_classes, cfg.model.test_score_thresh, cfg.model.test_topk_per_image) == (1203, 0.02, 300)
    assert cfg.model.class_loss.image_counts == [20] * 1203
    with torch.device("meta"):
        predictor = instantiate(cfg.model).roi_heads.box_predictor
    assert predictor.cls_score.out_features == 1204
    assert predictor.bbox_pred.out_features == 4812
    assert (predictor.class_loss.num_sampled, predictor.class_loss.class_weights.shape) == (50, (1203,))
    assert instantiate(cfg.evaluator).max_detections == 300


QUIRKS = {  # key: the release's value, and ours
    "model.pixel_mean": ([127, 127, 127], [127.5, 127.5, 127.5]),
    "model.pixel_std": ([127, 127, 127], [127.5, 127.5, 127.5]),
    "model.backbone.backbone.mask_padding": (False, True),
    "optimizer.decay_everything": (True, False),
    "dataloader.train.transforms.1.shared_offset": (True, False),
    "train.clip_norm": (None, 1.0),
}


@pytest.mark.parametrize("path", [p for p in RECIPES if p.parent.name in ("coco", "lvis")], ids=lambda path: path.stem)
def test_quirks_are_in_the_released_recipes_alone(path):
    cfg = load_config(path)
    released = str(path.relative_to(ROOT)) in [name for name, *_ in RELEASED]
    values = {key: OmegaConf.select(cfg, key, default=ours) for key, (_, ours) in QUIRKS.items()}
    assert values == {key: pair[0] if released else pair[1] for key, pair in QUIRKS.items()}
    steps = cfg.train.get("steps")
    assert cfg.lr_schedule.warmup_steps == pytest.approx(250 * steps / 184375 if released else 250)
