"""The complete tiny DETA of an independent implementation: features, memory, boxes, losses, detections."""

import numpy as np
import pytest
import torch

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.modeling.detection import Matcher
from pe_dense.structures import Instances
from projects.deta import DetaPyramid, HungarianAssigner, OverlapAssigner, Selection, build_deta
from projects.deta.assignment import Objects
from projects.deta.levels import Levels
from projects.deta.losses import mean_objects
from projects.deta.predictions import Predictions

CLOSE = {"atol": 1e-4, "rtol": 0}
SIZES = [(192, 160), (130, 192)]
ALL = 1_000_000  # samples: the fixture's assignments are those without chance


@pytest.fixture(scope="module")
def reference(fixtures):
    with np.load(fixtures / "pe" / "deta_c1.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def model(fixtures, tmp_path_factory):
    with np.load(fixtures / "pe" / "deta_c1_weights_int16_div512.npz") as file:
        weights = {key: torch.from_numpy(file[key].astype(np.float32) / 512) for key in file.files}
    path = tmp_path_factory.mktemp("released") / "deta.pth"
    torch.save({"model": weights}, path)
    encoder = PerceptionEncoder(
        embed_dim=48, depth=3, num_heads=2, mlp_dim=96, patch_size=16, grid_size=4, layer_scale=0.1, window_size=4,
        global_blocks=[2], abs_pos="tile", rope="rescaled", rope_reference=4, mask_padding=False,
    )  # fmt: skip
    return build_deta(
        DetaPyramid(encoder), num_classes=91, num_queries=30, num_encoder_layers=1, num_decoder_layers=2,
        feedforward_dim=64, square_size=224, weights=str(path),
        assigner=OverlapAssigner(Matcher([0.6], [0, 1], True), ALL, 1.0),
        first_stage_assigner=OverlapAssigner(Matcher([0.3, 0.7], [0, -1, 1], True), ALL, 1.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def predicted(model, reference):
    """Of the model on the fixture's features."""
    features = {level: reference[f"backbone.{level}"] for level in ("p3", "p4", "p5")}
    with torch.no_grad():
        return model.eval().predict(features, SIZES)


@pytest.fixture(scope="module")
def objects(reference):
    boxes, classes = (torch.zeros(2, 3, 4) + 0.5, torch.zeros(2, 3, dtype=torch.int64))
    valid = torch.tensor([[True, True, True], [True, False, False]])
    for i in range(2):
        boxes[i][valid[i]], classes[i][valid[i]] = reference[f"tgt{i}.boxes"], reference[f"tgt{i}.labels"]
    return Objects(boxes, classes, valid)


@torch.no_grad()
def test_backbone(model, reference):
    found = model.backbone(reference["input"])
    assert list(found) == ["p3", "p4", "p5"]
    for level, value in found.items():
        torch.testing.assert_close(value, reference[f"backbone.{level}"], **CLOSE)


def test_levels(model, reference):
    maps = [reference[f"backbone.{level}"] for level in ("p3", "p4", "p5")]
    levels = Levels.of(maps, SIZES, (224, 224))
    padding = torch.cat([reference[f"mask.{level}"].flatten(1) for level in ("p3", "p4", "p5")], dim=1)
    assert torch.equal(levels.padding(), padding)
    positions = torch.cat([reference[f"pos.{level}"].flatten(2) for level in ("p3", "p4", "p5")], dim=2)
    # what padding cells hold is of no use, and the release's is an accident: sines of half a million turns
    ours, theirs = levels.position_embedding(256)[~padding], positions.transpose(1, 2)[~padding]
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_sine_embedding_of_ops(fixtures):
    with np.load(fixtures / "pe" / "ops_d1.npz") as file:
        mask, expected = torch.from_numpy(file["sine.mask"]), torch.from_numpy(file["sine.out"])
    sizes = [(int((~m).any(1).sum()), int((~m).any(0).sum())) for m in mask]
    levels = Levels.of([expected], sizes, (9, 12))
    assert torch.equal(levels.padding().view_as(mask), mask)
    ours = levels.position_embedding(256)[~mask.flatten(1)]
    torch.testing.assert_close(ours, expected.flatten(2).transpose(1, 2)[~mask.flatten(1)], **CLOSE)


@torch.no_grad()
def test_memory(model, reference):
    maps = model._project([reference[f"backbone.{level}"] for level in ("p3", "p4", "p5")])
    levels = Levels.of(maps, SIZES, (224, 224))
    memory = model.transformer.encode(torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1), levels)
    valid = ~levels.padding()
    assert 0.3 < valid.float().mean() < 0.7
    torch.testing.assert_close(memory[valid], reference["memory"][valid], **CLOSE)


def test_first_stage(predicted, reference):
    _, first = predicted
    torch.testing.assert_close(first.logits[0, ..., :1], reference["enc.pred_logits"], **CLOSE)
    torch.testing.assert_close(first.boxes[0], reference["enc.pred_boxes"], **CLOSE)
    torch.testing.assert_close(first.reference, reference["enc.anchors"], **CLOSE)


def test_queries(predicted, reference):
    queries, _ = predicted
    torch.testing.assert_close(queries.reference, reference["init_reference"], **CLOSE)
    for layer, prefix in enumerate(("aux0.", "")):
        torch.testing.assert_close(queries.logits[layer], reference[f"{prefix}pred_logits"], **CLOSE)
        torch.testing.assert_close(queries.boxes[layer], reference[f"{prefix}pred_boxes"], **CLOSE)


def pairs(assignment, image):
    """(object, prediction) of the last layer."""
    valid, index = assignment.valid[-1, image], assignment.index[-1, image]
    return {(int(g), int(index[g, k])) for g, k in valid.nonzero()}


def listed(reference, name):
    return set(zip(reference[f"{name}.gt"].tolist(), reference[f"{name}.pr"].tolist()))


def test_assignments(model, predicted, reference, objects):
    queries, first = predicted
    for image in range(2):
        found = pairs(model.criterion.assigner(queries, objects), image)
        assert found == listed(reference, f"assign2.{image}")
        found = pairs(model.criterion.first_stage_assigner(first, objects), image)
        assert found == listed(reference, f"assign1.{image}")
        found = pairs(HungarianAssigner()(queries, objects), image)
        assert found == listed(reference, f"hungarian.{image}")


def test_losses(model, predicted, reference, objects):
    queries, first = predicted
    criterion, count = model.criterion, mean_objects(objects)
    layers = criterion.per_layer(queries, objects, criterion.assigner, count)
    agnostic = Objects(objects.boxes, torch.zeros_like(objects.classes), objects.valid)
    stage = criterion.per_layer(first, agnostic, criterion.first_stage_assigner, count)
    for ours, theirs in (("cls", "loss_ce"), ("box", "loss_bbox"), ("giou", "loss_giou")):
        expected = torch.stack([reference[f"loss.{theirs}_0"], reference[f"loss.{theirs}"]])
        torch.testing.assert_close(layers[ours].double(), expected, **CLOSE)
        torch.testing.assert_close(stage[ours].double(), reference[f"loss.{theirs}_enc"][None], atol=1e-4, rtol=1e-6)
    losses = criterion(queries, first, objects)
    assert len(losses) == 9
    torch.testing.assert_close(sum(losses.values()).double(), reference["loss.total"], atol=1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "selection"),
    [
        ("hard", Selection()),
        ("soft_quad", Selection("quad", pre_topk=2000, topk=200)),
        ("soft_linear", Selection("linear", pre_topk=2000, topk=200)),
    ],
)
def test_detections(model, predicted, reference, name, selection, monkeypatch):
    monkeypatch.setattr(model, "selection", selection)
    for i, found in enumerate(model.detections(predicted[0], SIZES)):
        height, width = reference["target_sizes"][i].tolist()
        scale = torch.tensor([width / SIZES[i][1], height / SIZES[i][0]]).repeat(2)
        prefix = f"post.{name}.{i}"
        torch.testing.assert_close(found.scores, reference[f"{prefix}.scores"], **CLOSE)
        assert torch.equal(found.classes, reference[f"{prefix}.labels"])
        torch.testing.assert_close(found.boxes * scale, reference[f"{prefix}.boxes"], atol=0.02, rtol=0)  # pixels


def test_losses_by_a_one_to_one_matching(model, predicted, objects):
    """Each layer has its own matching, and learns from every object once."""
    queries, _ = predicted
    assignment = HungarianAssigner()(queries, objects)
    assert assignment.valid.sum(dim=(1, 2, 3)).tolist() == [4, 4]
    found = model.criterion.per_layer(queries, objects, HungarianAssigner(), mean_objects(objects))
    alone = Predictions(queries.logits[:1], queries.boxes[:1], queries.reference)
    again = model.criterion.per_layer(alone, objects, HungarianAssigner(), mean_objects(objects))
    for name, value in again.items():
        torch.testing.assert_close(found[name][:1], value)


def test_from_samples(model, reference):
    """The whole way of a user: pixels in, instances of the original image out, and losses in training."""
    generator = torch.Generator().manual_seed(0)
    samples = [
        {"image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8), "height": 2 * size[0],
         "width": 2 * size[1], "instances": Instances(size, torch.tensor([[10.0, 20, 90, 100]]), torch.tensor([5]))}
        for size in SIZES
    ]  # fmt: skip
    with torch.no_grad():
        found = [output["instances"] for output in model.eval()(samples)]
    for (height, width), one in zip(SIZES, found):
        assert one.image_size == (2 * height, 2 * width)
        assert 0 < len(one) <= 100
        assert one.scores.diff().max() <= 0
        assert (one.boxes[:, 2] <= 2 * width).all()
    losses = model.train()(samples)
    sum(losses.values()).backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert unused == []
