"""Input that training meets, and the way through the engine."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pe_dense.config import instantiate, load_config
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import evaluate, train
from pe_dense.engine.checkpoint import Checkpoint, CheckpointError
from pe_dense.engine.fine_tuning import start_from
from pe_dense.engine.initialization import initialize
from pe_dense.engine.sharded import read_tensors, step_path
from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.prediction import load_predictor
from pe_dense.structures import Instances
from projects.deta import DetaPyramid, HungarianAssigner, Selection, build_deta
from projects.deta.levels import Levels
from projects.deta.proposals import make_anchors, select_proposals

CONFIGS = Path(__file__).resolve().parents[3] / "projects" / "deta" / "configs"


def tiny(**options):
    torch.manual_seed(0)
    encoder = PerceptionEncoder(16, 1, 2, 32, patch_size=16, grid_size=4)
    sizes = {"hidden_dim": 24, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 2, "feedforward_dim": 8}
    return build_deta(DetaPyramid(encoder), **({"num_classes": 3, "num_queries": 20} | sizes | options))


def sample(size, boxes=(), classes=()):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    objects = Instances(size, boxes, classes=torch.tensor(classes, dtype=torch.int64))
    return {"image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8), "instances": objects}


def step(model, samples):
    """Losses of a training step; every one, and every gradient, must be a number. Then detections."""
    losses = model.train()(samples)
    assert all(value.isfinite() for value in losses.values()), losses
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        found = model.eval()(samples)
    assert len(found) == len(samples)
    return {k: float(v) for k, v in losses.items()}


CASES = {
    "fewer cells than queries": ([sample((32, 32), [[2, 2, 20, 30]], [1])], {"num_queries": 900}),
    "a level of one cell, alone": ([sample((32, 32), [[2, 2, 20, 30]], [1])], {"hidden_dim": 16}),
    "no object": ([sample((64, 48)), sample((48, 64))], {}),
    "one image without objects": ([sample((64, 48), [[2, 2, 40, 30]], [1]), sample((48, 64))], {}),
    "many classes": ([sample((64, 64), [[2, 2, 40, 30]], [1203])], {"num_classes": 1204}),
    "an image of a few pixels": ([sample((2, 3), [[0, 0, 2, 2]], [0]), sample((256, 256))], {}),
    "boxes without area": ([sample((64, 64), [[5, 5, 5, 30], [9, 9, 9, 9]], [0, 1])], {}),
    "boxes that are none": (
        [
            sample(
                (64, 64), [[50, 50, 10, 10], [float("nan"), 0, 9, 9], [0, 0, float("inf"), 9], [4, 4, 30, 40]], [0] * 4
            )
        ],
        {},
    ),
    "boxes that are none, and nothing else": (
        [sample((64, 64), [[50, 50, 10, 10], [float("nan"), 0, 9, 9]], [0, 1]), sample((64, 48))],
        {},
    ),
    "a box beside the image": ([sample((64, 64), [[80, 90, 120, 130], [4, 4, 30, 40]], [0, 1])], {}),
    "a box larger than the image": ([sample((64, 64), [[-50, -50, 300, 300]], [0])], {}),
    "more objects than queries": ([sample((64, 64), [[i, i, i + 20, i + 20] for i in range(40)], [0] * 40)], {}),
    "matched one to one": (
        [sample((64, 64), [[i, i, i + 20, i + 20] for i in range(40)], [0] * 40), sample((64, 64))],
        {"assigner": HungarianAssigner(), "first_stage_assigner": HungarianAssigner()},
    ),
    "other sizes": (
        [sample((64, 64), [[2, 2, 40, 30]], [1])],
        {"hidden_dim": 20, "num_heads": 5, "num_levels": 6, "num_points": 3, "num_decoder_layers": 1},
    ),
    "three levels": ([sample((64, 64), [[2, 2, 40, 30]], [1])], {"num_levels": 3, "checkpoint_layers": True}),
    "soft suppression": ([sample((64, 64), [[2, 2, 40, 30]], [1])], {"selection": Selection("quad", topk=None)}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_training_and_prediction(name):
    samples, options = CASES[name]
    losses = step(tiny(**options), samples)
    has_objects = any(((s["instances"].boxes[:, 2:] > s["instances"].boxes[:, :2]).all(1)).any() for s in samples)
    assert (losses["loss_box"] > 0) == has_objects
    assert losses["loss_cls"] > 0


def test_an_image_has_cells_on_every_level():
    """However small it is beside the others of its batch: no level is all padding."""
    sizes, shapes = [(2, 3), (256, 256)], ((32, 32), (16, 16), (8, 8), (4, 4), (2, 2))
    levels = Levels.of([torch.zeros(2, 1, *shape) for shape in shapes], sizes, (256, 256))
    for padding in levels.padding().split([rows * cols for rows, cols in shapes], dim=1):
        assert (~padding).sum(1).tolist() == [1, padding.shape[1]]
    assert levels.centres()[~levels.padding()].isfinite().all()


@torch.no_grad()
def test_detections_do_not_depend_on_the_other_images():
    model = tiny(square_size=256).eval()
    small, large = sample((20, 30)), sample((256, 256))
    alone, together = (found["instances"] for found in (model([small])[0], model([large, small])[1]))
    assert len(alone) > 5
    torch.testing.assert_close(together.boxes, alone.boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(together.scores, alone.scores)


@pytest.mark.parametrize("decay", [None, "quad"])
def test_selection_of_degenerate_boxes(decay):
    boxes = torch.tensor([[[0.0, 0, 9, 9], [float("nan"), 0, 9, 9], [0, 0, float("inf"), 9], [5, 5, 5, 5]]])
    probs = torch.tensor([[[0.5, 0.1], [0.9, 0.9], [0.8, 0.8], [0.4, float("nan")]]])
    [(found, classes, scores, queries)] = Selection(decay)(boxes, probs)
    assert scores.tolist() == pytest.approx([0.5, 0.4, 0.1])
    assert classes.tolist() == [0, 0, 1]
    assert torch.equal(found, boxes[0, [0, 3, 0]])
    assert queries.tolist() == [0, 3, 0]
    [(found, *_)] = Selection(decay)(boxes, torch.full_like(probs, float("nan")))
    assert found.shape == (0, 4)
    several = Selection(decay, pre_topk=50, topk=2)(boxes.repeat(2, 1, 1), probs.repeat(2, 1, 1))
    assert [len(scores) for _, _, scores, _ in several] == [2, 2]


@pytest.mark.parametrize("decay", [None, "quad"])
def test_a_box_without_end_leaves_the_others_alone(decay):
    """They still suppress each other, of every class."""
    boxes = torch.tensor([[[5.0, 5, 50, 50], [5, 5, 50, 51], [0, 0, float("inf"), 9]]])
    probs = torch.tensor([[[0.0, 0.5], [0.0, 0.4], [0.0, 0.9]]])
    [(_, _, scores, queries)] = Selection(decay)(boxes, probs)
    assert queries.tolist() == ([0] if decay is None else [0, 1])
    assert decay is None or float(scores[1]) == pytest.approx(0.4 * (1 - 45 / 46) ** 0.5)


@torch.no_grad()
def test_a_model_that_diverged_detects_nothing():
    model = tiny().eval()
    model.bbox_embed[1].layers[-1].bias.fill_(float("nan"))
    [found] = model([sample((64, 64))])
    assert len(found["instances"]) == 0


def test_training_under_autocast():
    samples = [sample((64, 48), [[2, 2, 40, 30]], [1])]
    plain = tiny().train()(samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = tiny().train()(samples)
    sum(losses.values()).backward()
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert float(value.detach()) == pytest.approx(float(plain[name].detach()), rel=0.1), name


def test_errors():
    model = tiny().train()
    with pytest.raises(ValueError, match="class index 7 but the model has num_classes=3"):
        model([sample((64, 64), [[2, 2, 40, 30]], [7])])
    with pytest.raises(ValueError, match="training needs 'instances'"):
        model([{"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "file_name": "a.jpg"}])
    with pytest.raises(ValueError, match="num_levels 2: the backbone makes 3 maps"):
        tiny(num_levels=2)
    with pytest.raises(ValueError, match="hidden_dim 30 must be divisible by 4"):
        tiny(hidden_dim=30)
    with pytest.raises(ValueError, match=r"class_columns must lie in 0\.\.2"):
        tiny(class_columns=[1, 3])


def test_more_queries_than_the_first_stage_proposes():
    with pytest.raises(
        ValueError, match="num_queries 900: the first stage proposes at most 800, pre_nms_topk 200 on each"
    ):
        tiny(num_queries=900, pre_nms_topk=200, num_levels=4)


@pytest.mark.parametrize("name", ["num_queries", "pre_nms_topk", "num_heads", "num_decoder_layers", "num_points"])
def test_there_must_be_one(name):
    with pytest.raises(ValueError, match=rf"{name} 0 .*must.* be at least 1"):
        tiny(**{name: 0})


@pytest.mark.parametrize("size", [0.0, 0.01, 1.0, 32])
def test_anchors_that_no_image_has(size):
    with pytest.raises(ValueError, match=rf"anchor_size {size} must lie between 0.01 and 0.99, fractions of the image"):
        tiny(anchor_size=size)


def test_class_columns():
    """Two classes of the data set, in columns 4 and 1 of six."""
    model = tiny(num_classes=6, class_columns=[4, 1])
    assert model.num_classes == 2
    assert model.objects([sample((64, 64), [[2, 2, 40, 30]] * 2, [0, 1])], [(64, 64)]).classes.tolist() == [[4, 1]]
    with torch.no_grad():
        [found] = model.eval()([sample((64, 64))])
    assert set(found["instances"].classes.tolist()) <= {0, 1}


def test_an_image_about_which_nothing_is_known():
    """Its blank labels train every kind of model."""
    for options in ({}, {"with_masks": True}):
        model = tiny(**options).train()
        blank = {**sample((64, 48)), **model.blank_labels((64, 48))}
        assert all(value.isfinite() for value in model([blank]).values())


def test_weights_of_other_classes_say_what_to_skip():
    source, target = tiny(num_classes=5), tiny()
    other = Checkpoint(Path("stage1"), source.state_dict(), 10, "", None, {})
    with pytest.raises(CheckpointError, match=r"train.init_skip=\[class_embed.\]"):
        start_from(target, other)
    start_from(target, other, ["class_embed."])
    assert torch.equal(target.transformer.level_embed, source.transformer.level_embed)


def test_initial_values_without_a_constructor():
    """As sharded training makes them."""
    with torch.device("meta"):
        model = tiny()
    model.to_empty(device="cpu")
    initialize(model)
    usual = dict(tiny().named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            spread = float(parameter.std(correction=0))
            assert spread == pytest.approx(float(usual[name].std(correction=0)), rel=0.5, abs=0.01), name
    assert model.bbox_embed[0].layers[-1].weight.abs().sum() == 0
    offsets = model.transformer.encoder.layers[0].self_attn.sampling_offsets
    assert torch.equal(offsets.bias, usual["transformer.encoder.layers.0.self_attn.sampling_offsets.bias"])


def levels_of(shapes=((8, 8), (4, 4)), batch=2):
    maps = [torch.zeros(batch, 1, *shape) for shape in shapes]
    return Levels.of(maps, [(64, 64)] * batch, (64, 64))


def test_proposals_come_from_every_level():
    """Half from each level although one has all the high scores; then in descending order."""
    levels = levels_of()
    boxes, valid = make_anchors(levels)
    assert valid.all()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 80, generator=generator) + 10 * (levels.index() == 0)
    index = select_proposals(boxes, logits, levels, 20, 1000, 0.9)
    assert [(levels.index()[row] == 1).sum() for row in index] == [10, 10]
    assert (logits.gather(1, index).diff(dim=1) <= 0).all()
    # a level with too few leaves its places to the others
    index = select_proposals(boxes, logits, levels, 60, 1000, 0.9)
    assert [(levels.index()[row] == 1).sum() for row in index] == [16, 16]
    assert len(index[0].unique()) == 60


def test_proposals_that_suppress_each_other():
    levels = levels_of()
    boxes = torch.tensor([0.5, 0.5, 0.3, 0.3]).repeat(2, 80, 1)
    logits = torch.randn(2, 80, generator=torch.Generator().manual_seed(0))
    index = select_proposals(boxes, logits, levels, 2, 1000, 0.9)
    best = torch.stack([logits[:, :64].argmax(1), 64 + logits[:, 64:].argmax(1)], dim=1)
    assert torch.equal(index.sort(1).values, best)
    index = select_proposals(boxes, logits, levels, 30, 1000, 0.9)  # two are left: the best thirty are taken
    assert torch.equal(index, logits.topk(30).indices)
    assert select_proposals(boxes, logits, levels, 900, 1000, 0.9).shape == (2, 80)
    few = select_proposals(torch.rand(2, 80, 4), logits, levels, 60, 5, 0.9)  # less candidates than queries
    assert torch.equal(few, logits.topk(60).indices)


def test_recipe_trains_and_evaluates(tmp_path):
    write_scenes(tmp_path / "scenes", train=6, val=2, size=64, videos=0)
    cfg = load_config(CONFIGS / "scenes_small.py", [
        f"data.root={tmp_path / 'scenes'}", "dataloader.train.num_workers=0", "dataloader.test.num_workers=0",
        "dataloader.train.batch_size=2", f"train.output_dir={tmp_path / 'run'}", "train.epochs=null",
        "+train.steps=2", "train.eval_period=0", "train.checkpoint_period=0", "train.log_period=1",
    ])  # fmt: skip
    assert instantiate(cfg.model).num_classes > 1
    train(cfg)
    assert (tmp_path / "run" / "inference" / "coco_instances_results.json").exists()
    assert "bbox/AP" in evaluate(load_config(tmp_path / "run" / "config.yaml"))
    augmented = [
        "model.tta={_target_: pe_dense.modeling.detection.DetectionTTA, sizes: [64, 96], decay: quad, topk: 30, "
        "side_limits: [[8, null], [0, 32]]}",
        "model.num_queries=70", "dataloader.test.transforms=[]",
    ]  # fmt: skip
    cfg = load_config(tmp_path / "run" / "config.yaml", augmented)
    assert "bbox/AP" in evaluate(cfg, output=tmp_path / "tta")
    written = json.loads((tmp_path / "tta" / "coco_instances_results.json").read_text())
    assert {row["image_id"] for row in written} == {
        i["id"] for i in json.loads((tmp_path / "scenes/annotations/instances_val.json").read_text())["images"]
    }
    predictor = load_predictor(tmp_path / "run", overrides=augmented, device="cpu")
    images = sorted((tmp_path / "scenes" / "val").glob("*"))
    assert sum(len(found) for found in predictor.predict_batch(images)) == len(written)


def test_a_resumed_run_draws_the_same_noise(tmp_path):
    """With every option: what is saved after four steps is bit for bit what two, and then two more, give."""
    write_scenes(tmp_path / "scenes", train=6, val=2, size=64, videos=0)
    cfg = load_config(CONFIGS / "scenes_small.py", [
        f"data.root={tmp_path / 'scenes'}", "dataloader.train.num_workers=0", "dataloader.test.num_workers=0",
        "dataloader.train.batch_size=2", f"train.output_dir={tmp_path / 'run'}", "train.epochs=null", "+train.steps=4",
        "train.eval_period=0", "+train.checkpoint_steps=2", "+train.ema_decay=0.9", "train.best_metric=null",
        "+model.look_forward_twice=true", "+model.denoising={_target_: projects.deta.Noise, num_queries: 10}",
        "+model.with_masks=true", "dataloader.train.dataset.masks=true",
    ])  # fmt: skip
    train(cfg)
    last = step_path(tmp_path / "run" / "checkpoints", 4)
    whole = read_tensors(last, "")
    shutil.rmtree(last)
    train(cfg, resume=True)
    again = read_tensors(last, "")
    assert {name.partition(".")[0] for name in whole} == {"model", "ema", "optimizer"}
    assert whole.keys() == again.keys()
    assert [name for name, value in whole.items() if not torch.equal(again[name], value)] == []


def test_own_data(tmp_path):
    """With masks, which the json has."""
    write_scenes(tmp_path / "scenes", train=6, val=2, size=64, videos=0)
    annotations = tmp_path / "scenes" / "annotations"
    cfg = load_config(CONFIGS / "small_scratch.py", [
        f"data.json={annotations / 'instances_train.json'}", f"data.images={tmp_path / 'scenes' / 'train'}",
        f"data.val_json={annotations / 'instances_val.json'}", f"data.val_images={tmp_path / 'scenes' / 'val'}",
        "data.image_size=64", "dataloader.train.num_workers=0", "dataloader.test.num_workers=0",
        f"train.output_dir={tmp_path / 'run'}", "train.epochs=null", "+train.steps=2", "train.eval_period=0",
        "train.checkpoint_period=0", "train.log_period=1",
    ])  # fmt: skip
    train(cfg)
    assert {"bbox/AP", "segm/AP"} < set(evaluate(load_config(tmp_path / "run" / "config.yaml")))
