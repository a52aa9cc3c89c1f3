"""The four stages, ours and as released, against the release's numbers; the recipes for one GPU; going on from one."""

import copy
import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pe_dense.config import apply_overrides, from_yaml, instantiate, load_config, to_yaml
from pe_dense.data.geometry import View
from pe_dense.engine import AdamW, CheckpointError, RunDirectoryError, load_checkpoint, train
from pe_dense.engine.simulation import imitated, training_batch, training_step
from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.structures import Instances
from projects.deta import DetaPyramid, build_deta, to_released

ROOT = Path(__file__).resolve().parents[3] / "projects" / "deta" / "configs"
STAGES = [
    "pe_spatial_g14_1_objects365_1024", "pe_spatial_g14_2_objects365_1536", "pe_spatial_g14_3_coco_1728",
    "pe_spatial_g14_4_coco_1824",
]  # fmt: skip
VARIANTS = {"ours": ROOT, "released": ROOT / "released"}
ONE_GPU = sorted(ROOT.glob("*ep.py"))
COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
IMAGES = {"objects365": 1_742_289, "coco": 118_287}
# pixels, images a step, epochs, drop after, optimizer, drop path: the same in both
SHARED = [
    (1024, 256, 12, 10, "AdamW", 0.5),
    (1536, 128, 6, 4, "AdamW", 0.5),
    (1728, 64, 12, 10, "AdamW", 0.4),
    (1824, 64, 3, 2, "SGD", 0.0),
]


@cache
def loaded(path):
    return load_config(path)


def stage(number, variant="ours", overrides=()):
    cfg = copy.deepcopy(loaded(VARIANTS[variant] / f"{STAGES[number - 1]}.py"))
    apply_overrides(cfg, overrides)
    return cfg


def meta_model(cfg):
    cfg.model.backbone.backbone.weights = None
    with torch.device("meta"):
        return instantiate(cfg.model)


@pytest.mark.parametrize("variant", VARIANTS)
def test_numbers_of_the_stages(variant):
    for number, shared in enumerate(SHARED, 1):
        cfg = stage(number, variant)
        encoder = cfg.model.backbone.backbone
        assert shared == (
            cfg.model.square_size, cfg.dataloader.train.batch_size, cfg.train.epochs, cfg.lr_schedule.milestones[0],
            cfg.optimizer._target_.rpartition(".")[2], encoder.drop_path_rate,
        )  # fmt: skip
        assert (cfg.train.clip_norm, cfg.optimizer.weight_decay, cfg.train.ema_decay) == (0.1, 1e-4, None)
        assert (encoder.patch_size, encoder.grid_size, encoder.window_size, encoder.abs_pos) == (16, 24, 24, "tile")
        assert encoder.global_blocks == [12, 24, 36, 49]
        assert cfg.train.eval_period == (2 if number == 1 else 1)
        before = [f"output/deta_pe_spatial_g14_{number - 1}{'_released' if variant == 'released' else ''}"]
        assert [cfg.train.init_from] == (before if number > 1 else [None])
        assert cfg.train.output_dir.startswith(f"output/deta_pe_spatial_g14_{number}")
        assert (number == 1) == ("init_from" not in cfg.train or cfg.train.init_from is None)
        assert from_yaml(to_yaml(cfg)) == cfg


def test_points_in_which_the_release_differs():
    def points(number, variant):
        cfg = stage(number, variant)
        encoder = cfg.model.backbone.backbone
        return (
            encoder.rope_reference, encoder.mask_padding, cfg.optimizer.layer_decay, cfg.optimizer.decay_everything,
            cfg.model.pixel_mean[0], cfg.model.pixel_std[0], cfg.model.num_classes, cfg.optimizer.lr,
            list(cfg.train.init_skip), cfg.train.precision, cfg.model.backbone.bf16,
        )  # fmt: skip

    ours, theirs = (24, True, 0.9, False, 127.5, 127.5), (16, False, None, True, 123.675, 58.395)
    assert points(1, "ours") == (*ours, 365, 2e-4, [], "bf16", False)
    assert points(2, "ours") == (*ours, 365, 5e-5, [], "bf16", False)
    assert points(3, "ours") == (*ours, 80, 5e-5, ["class_embed."], "bf16", False)
    assert points(4, "ours") == (*ours, 80, 5e-3, [], "bf16", False)
    assert points(1, "released") == (*theirs, 366, 2e-4, [], "fp32", False)
    assert points(2, "released") == (*theirs, 366, 5e-5, ["class_embed."], "fp32", False)
    assert points(3, "released") == (*theirs, 91, 5e-5, ["class_embed."], "fp32", True)
    assert points(4, "released") == (*theirs, 91, 5e-5, [], "fp32", True)
    assert stage(4, "released").model.class_columns == COCO_IDS
    assert stage(1, "released").model.class_columns == list(range(1, 366))
    # one by one
    cfg = stage(2, overrides=["choices.rope_reference=16", "choices.layer_decay=null"])
    assert (cfg.model.backbone.backbone.rope_reference, cfg.optimizer.layer_decay) == (16, None)


@pytest.mark.parametrize(("number", "images"), enumerate([*[IMAGES["objects365"]] * 2, *[IMAGES["coco"]] * 2], 1))
def test_learning_rate_over_time(number, images):
    _, batch, _, drop, *_ = SHARED[number - 1]
    cfg = stage(number)
    per_epoch = images / batch
    steps = instantiate(cfg.train).total_steps(per_epoch)
    assert steps == [81_670, 81_670, 22_179, 5_545][number - 1]
    multiplier = instantiate(cfg.lr_schedule)(steps, per_epoch)
    edge = int(np.ceil(drop * per_epoch))
    assert (multiplier(0), multiplier(edge - 1)) == (1, 1)  # no warm-up
    assert [multiplier(step) for step in (edge, steps - 1)] == pytest.approx([0.1, 0.1])


def rates(cfg, model):
    """Parameters and weight decays by learning rate."""
    found = {}
    for group in instantiate(cfg.optimizer)(model).param_groups:
        count, decays = found.get(round(group["lr"], 12), (0, set()))
        found[round(group["lr"], 12)] = (
            count + sum(p.numel() for p in group["params"]), decays | {group["weight_decay"]}
        )  # fmt: skip
    return found


def test_released_groups_and_weights(fixtures):
    """Three groups: heads 22.9 M and encoder 1,856 M at one rate, offsets 1.0 M at a tenth; and the released file."""
    cfg = stage(4, "released")
    model = meta_model(cfg)
    assert model.num_classes == 80
    found = rates(cfg, model)
    assert {rate: decays for rate, (_, decays) in found.items()} == {5e-5: {1e-4}, 5e-6: {1e-4}}
    assert found[5e-6][0] / 1e6 == pytest.approx(1.0, abs=0.05)
    encoder = sum(p.numel() for p in model.backbone.parameters())
    assert encoder / 1e6 == pytest.approx(1856, abs=1)
    assert (found[5e-5][0] - encoder) / 1e6 == pytest.approx(22.9, abs=0.05)
    shapes = json.loads((fixtures / "pe" / "keys_deta_coco_1824.json").read_text())
    stored = {key: tuple(shape) for key, shape in shapes.items() if ".freqs_" not in key}
    assert {key: tuple(value.shape) for key, value in to_released(model.state_dict()).items()} == stored


def test_layer_decay_of_our_stages():
    cfg = stage(1)
    model = meta_model(cfg)
    found = rates(cfg, model)
    rate = {name: g["lr"] for g in instantiate(cfg.optimizer)(model).param_groups for name in names_of(model, g)}
    assert rate["backbone.backbone.transformer.resblocks.49.ln_1.weight"] == pytest.approx(2e-4 * 0.9)
    assert rate["backbone.backbone.transformer.resblocks.0.attn.in_proj_weight"] == pytest.approx(2e-4 * 0.9**50)
    assert rate["backbone.backbone.positional_embedding"] == pytest.approx(2e-4 * 0.9**51)
    assert rate["backbone.up.weight"] == rate["class_embed.0.weight"] == 2e-4
    assert rate["transformer.decoder.layers.3.cross_attn.sampling_offsets.bias"] == pytest.approx(2e-5)
    assert len(found) == 1 + 50 + 1 + 1
    assert set().union(*(decays for _, decays in found.values())) == {0, 1e-4}


def names_of(model, group):
    wanted = {id(p) for p in group["params"]}
    return [name for name, p in model.named_parameters() if id(p) in wanted]


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("size", [(480, 640), (640, 427), (300, 1000), (2000, 1500)])
def test_released_augmentation(number, size):
    """One half resized as a whole, short side 480 to S - 32; the other cut out at 400 to 600 px and then as large as
    S - 32 allows; nothing is larger than that."""
    side = SHARED[number - 1][0]
    flip, choice = instantiate(stage(number, "released").dataloader.train.transforms)
    assert flip.prob == 0.5
    (height, width), longest = size, side - 32
    views = [choice.view(View.whole(*size), np.random.default_rng(seed)) for seed in range(200)]
    assert {max(v.size) <= longest for v in views} == {True}
    whole = [v for v in views if (v.left, v.top, v.right, v.bottom) == (0, 0, width, height)]
    cut = [v for v in views if v not in whole]
    scales = {min(short / min(size), longest / max(size)) for short in range(480, side, 32)}
    assert all(min(abs(v.size[0] / height - s) for s in scales) < 0.002 for v in whole)
    assert len({v.size for v in whole}) > len(scales) / 2
    assert all(max(v.size) == longest for v in cut)
    assert 60 < len(cut) < 140
    for view in cut:
        sides = view.bottom - view.top, view.right - view.left
        at_crop = [[s * short / min(size) for s in sides] for short in (400, 500, 600)]
        assert any(all(382 <= s <= 602 for s in sides) for sides in at_crop)
    [resize] = instantiate(stage(number, "released").dataloader.test.transforms)
    assert max(resize.view(View.whole(*size), np.random.default_rng(0)).size) == longest


def test_our_augmentation_is_large_scale_jitter():
    flip, jitter = instantiate(stage(4).dataloader.train.transforms)
    assert (flip.prob, jitter.size, jitter.min_scale, jitter.max_scale) == (0.5, (1824, 1824), 0.1, 2.0)


@pytest.mark.parametrize("path", ONE_GPU, ids=[p.stem for p in ONE_GPU])
def test_recipes_for_one_gpu(path):
    cfg = load_config(path)
    assert from_yaml(to_yaml(cfg)) == cfg
    assert (
        cfg.model.backbone.backbone.weights.lower().replace("-", "_")
        == (cfg.model.backbone.backbone._target_.rpartition(".")[2])
    )
    model = meta_model(cfg)
    assert (model.num_classes, model.square_size, model.transformer.checkpoint_layers) == (80, 1024, True)
    epochs = int(path.stem.rpartition("_")[2].removesuffix("ep"))
    assert (cfg.train.epochs, cfg.lr_schedule.milestones[0]) == (epochs, {12: 10, 24: 20}[epochs])
    assert cfg.dataloader.train.batch_size % cfg.train.accumulate == 0
    assert max(rates(cfg, model)) == pytest.approx(1e-4)
    assert isinstance(instantiate(cfg.optimizer), AdamW)


def test_there_are_recipes():
    assert len(ONE_GPU) == 6


def write_data(root):
    """Two pictures each of a COCO and an Objects365 with all of their classes."""
    for name, ids in (("coco", COCO_IDS), ("objects365", list(range(1, 366)))):
        for part, year in (("train", "train2017"), ("val", "val2017")):
            folder, prefix = (year, "") if name == "coco" else (part, "images/v1/patch0/")
            json_name = f"instances_{year}" if name == "coco" else f"zhiyuan_objv2_{part}"
            content = {
                "images": [{"id": i, "file_name": f"{prefix}{i}.jpg", "height": 48, "width": 64} for i in range(2)],
                "annotations": [
                    {"id": i, "image_id": i, "category_id": ids[-1 - i], "bbox": [8, 8, 30, 30], "area": 900}
                    for i in range(2)
                ],
                "categories": [{"id": i, "name": f"{name} {i}"} for i in ids],
            }
            path = root / name / "annotations" / f"{json_name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
            images = root / name / folder / ("patch0" if prefix else "")
            images.mkdir(parents=True)
            for i in range(2):
                picture = np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8)
                cv2.imwrite(str(images / f"{i}.jpg"), picture)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_data(root)
    return root


def small(number, variant, datasets, runs):
    """A stage with a small encoder and transformer and 96 pixels; one step that changes nothing."""
    name = "objects365" if number < 3 else "coco"
    cfg = stage(number, variant, [
        f"data.root={datasets}/{name}", "data.image_size=96", "dataloader.train.batch_size=2",
        "dataloader.train.num_workers=0", "dataloader.test.num_workers=0", f"train.output_dir={runs}/{number}",
        f"train.seed={number}", "train.epochs=null", "+train.steps=1",
        "optimizer.lr=0", "train.eval_period=0", "train.checkpoint_period=0",
        "+model.hidden_dim=24", "+model.num_heads=2", "+model.num_encoder_layers=1", "+model.num_decoder_layers=1",
        "+model.feedforward_dim=16", "+model.num_queries=20",
    ])  # fmt: skip
    encoder = cfg.model.backbone.backbone
    encoder._target_ = "pe_dense.modeling.backbone.pe_spatial_t16_512"
    encoder.update({"weights": None, "depth": 1, "use_cls_token": False, "global_blocks": [0], "grid_size": 4})
    if variant == "released":
        (whole,), (short, crop, fit) = cfg.dataloader.train.transforms[1].chains
        short.short_edge_length, crop.min_size, crop.max_size = [40, 50], 38, 60
        for resize in (whole, fit, cfg.dataloader.test.transforms[0]):
            resize.update({"short_edge_length": 64, "max_size": 64})
    if number > 1:
        cfg.train.init_from = f"{runs}/{number - 1}"
    return cfg


@pytest.mark.parametrize(("variant", "stages"), [("ours", 2), ("released", 4)])
def test_stages_chain(variant, stages, datasets, tmp_path, monkeypatch):
    """Each stage starts from the one before; the classifiers stay or start anew as the stage says."""
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    weights = [None]
    for number in range(1, stages + 1):
        cfg = small(number, variant, datasets, tmp_path)
        assert "bbox/AP" in train(cfg)
        weights.append(load_checkpoint(tmp_path / str(number)).weights)
        if number == 1:
            continue
        before, after = weights[-2:]
        same = {name for name in after if after[name].shape == before[name].shape
                and torch.equal(after[name], before[name])}  # fmt: skip
        fresh = {name for name in after if name.startswith("class_embed.") and name.endswith("weight")}
        kept = number == 4 or (number, variant) == (2, "ours")
        assert same >= set(after) - (set() if kept else {n for n in after if n.startswith("class_embed.")})
        assert (fresh <= same) if kept else not (fresh & same)


def test_what_does_not_go_on(datasets, tmp_path, monkeypatch):
    """From another stage, with other classes, with another number of queries."""
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    train(small(1, "ours", datasets, tmp_path))
    coco = small(3, "ours", datasets, tmp_path)
    coco.train.init_from, coco.train.init_skip = f"{tmp_path}/1", []
    with pytest.raises(CheckpointError, match=r"class_embed.0.bias \(\(365,\) in the file, \(80,\) in the model\).* "
                       r"start these layers anew, set train.init_skip=\[class_embed.\]"):  # fmt: skip
        train(coco)
    coco.train.output_dir = f"{tmp_path}/1"
    with pytest.raises(RunDirectoryError, match=r"cannot resume from .*/1/checkpoints/step_.*: the config differs in .*"
                       r"new run with train.init_from="):  # fmt: skip
        train(coco, resume=True)
    more = small(1, "ours", datasets, tmp_path)
    more.model.num_queries = 30
    with pytest.raises(RunDirectoryError, match=r"differs in 1 key \(model.num_queries: 20 -> 30\)"):
        train(more, resume=True)
    more.train.init_from, more.train.output_dir = f"{tmp_path}/1", f"{tmp_path}/more"
    train(more)  # no weight depends on it


def test_precision_of_the_encoder_alone():
    """bf16 inside, float32 outside; close to all of it in float32."""
    torch.manual_seed(0)
    neck = DetaPyramid(PerceptionEncoder(32, 2, 2, 64, patch_size=16, grid_size=4), bf16=True)
    seen = []
    neck.backbone.blocks[-1].mlp.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    images = torch.randn(1, 3, 64, 64)
    mixed = neck(images)
    neck.bf16 = False
    exact = neck(images)
    assert seen == [torch.bfloat16, torch.float32]
    for name, grid in mixed.items():
        assert grid.dtype == torch.float32
        assert 0 < (grid - exact[name]).abs().max() < 0.05 * exact[name].abs().max()


def test_plan_of_a_step():
    """What tools/plan_run.py counts on shapes alone is what a real step takes, on a CPU."""

    def build():
        encoder = PerceptionEncoder(48, 2, 2, 96, patch_size=16, grid_size=8)
        sizes = {"num_queries": 50, "num_encoder_layers": 2, "num_decoder_layers": 2, "feedforward_dim": 128}
        return build_deta(DetaPyramid(encoder), num_classes=5, hidden_dim=48, num_heads=4, **sizes)

    with torch.device("meta"):
        model = build()
    with imitated(model) as model:
        expected = training_step(model, training_batch(2, 256, 256, 20))
    torch.manual_seed(0)
    batch = training_batch(2, 256, 256, 20)
    for sample in batch:
        corner = 180 * torch.rand(20, 2)
        sample["image"] = torch.randint(0, 256, (3, 256, 256), dtype=torch.uint8)
        boxes = torch.cat([corner, corner + 10 + 60 * torch.rand(20, 2)], dim=1)
        sample["instances"] = Instances((256, 256), boxes, torch.zeros(20, dtype=torch.int64),
                                        masks=sample["instances"].masks)  # fmt: skip
    real = training_step(build(), batch)
    for name in ("forward", "backward"):
        assert getattr(real, name) == pytest.approx(getattr(expected, name), rel=0.05), name
    # positions of deformable attention that share a cell are counted as if they did not
    assert 0.7 * expected.activations < real.activations < 1.02 * expected.activations
