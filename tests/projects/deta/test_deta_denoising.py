"""Queries made of the ground truth: what they are made of, what they may see, and what they lose."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_convert, box_iou

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.structures import Instances
from projects.deta import DetaPyramid, Noise, build_deta
from projects.deta.assignment import Objects
from projects.deta.denoising import Denoising
from projects.deta.predictions import Predictions

SIZES = {"hidden_dim": 24, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 3, "feedforward_dim": 8}


def tiny(**options):
    torch.manual_seed(0)
    encoder = PerceptionEncoder(16, 1, 2, 32, patch_size=16, grid_size=4)
    model = build_deta(DetaPyramid(encoder), num_classes=3, num_queries=20, **(SIZES | options))
    for head in model.bbox_embed:  # not at no change, where boxes of all layers are the same
        torch.nn.init.normal_(head.layers[-1].weight, std=0.3)
    return model.train()


def samples():
    generator = torch.Generator().manual_seed(0)
    boxes = [[[2.0, 2, 40, 30], [30, 30, 60, 60]], [[10.0, 10, 20, 50]], []]
    return [
        {
            "image": torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8),
            "instances": Instances((64, 64), torch.tensor(b).reshape(-1, 4), torch.arange(len(b))),
        }
        for b in boxes
    ]


def objects(count=50):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, count, 4, generator=generator) * 0.2 + 0.3
    return Objects(boxes, torch.arange(2 * count).view(2, count) % 5, torch.ones(2, count, dtype=torch.bool))


def test_noise():
    """Positive queries are near their objects, the others are not; a share of the classes is another."""
    truth = objects()
    torch.manual_seed(0)
    denoising = Denoising(Noise(400, label_noise=0.5), range(5), 5, 8)
    noised = denoising(truth)
    assert noised.boxes.shape == (2, 800, 4)
    assert noised.positive.shape == (8, 50)
    assert noised.group.bincount().tolist() == [100] * 8
    near = noised.boxes.unflatten(1, (8, 2, 50))
    corners = box_convert(near, "cxcywh", "xyxy") - box_convert(truth.boxes, "cxcywh", "xyxy")[:, None, None]
    shift = corners.abs() / truth.boxes[:, None, None][..., [2, 3, 2, 3]]
    assert shift[:, :, 0].max() <= 0.5 + 1e-5
    assert shift[:, :, 0].mean() == pytest.approx(0.25, abs=0.01)
    iou = [
        box_iou(*(box_convert(b.flatten(0, -2), "cxcywh", "xyxy") for b in (near[:, :, k], truth.boxes)))
        .unflatten(0, (2, 8, 50)).unflatten(-1, (2, 50))[0, :, :, 0].diagonal(dim1=1, dim2=2)
        for k in (0, 1)
    ]  # fmt: skip
    assert iou[0].mean() > iou[1].mean() + 0.2
    assert torch.equal(noised.positive[3], 300 + torch.arange(50))
    own = denoising.class_features(truth.classes)[:, None, None].expand(-1, 8, 2, -1, -1).flatten(1, 3)
    other = (noised.features != own).any(-1).float().mean()
    assert other == pytest.approx(0.5 * 4 / 5, abs=0.05)


def test_no_noise_is_the_truth():
    truth = objects(3)
    noised = Denoising(Noise(7, 0.0, 0.0, contrastive=False), range(5), 5, 8)(truth)
    torch.testing.assert_close(noised.boxes, truth.boxes.repeat(1, 2, 1))
    assignment = noised(Predictions(*[torch.zeros(0)] * 3), truth)
    assert assignment.index.tolist() == [[[[0, 3], [1, 4], [2, 5]]] * 2]
    assert assignment.valid.all()


def test_nothing_leaks():
    """Whatever the ground truth says, the other queries predict the same; nor does a group see another."""
    model, batch = tiny(denoising=Noise(6)), samples()
    images = model.preprocess(batch)
    features = model.backbone(images.tensor)
    truth = model.objects(batch, images.sizes)
    noised = model.denoising(truth)
    with torch.no_grad():
        plain, _ = model.predict(features, images.sizes)
        found, _ = model.predict(features, images.sizes, noised)
        own = plain.boxes.shape[2]
        torch.testing.assert_close(found.part(0, own).logits, plain.logits)
        torch.testing.assert_close(found.part(0, own).boxes, plain.boxes)
        changed = replace(noised, features=noised.features + 5 * (noised.group == 1)[:, None])
        again, _ = model.predict(features, images.sizes, changed)
    after = again.part(own, None).boxes - found.part(own, None).boxes
    assert noised.group.max() == 2
    assert after[:, :, noised.group != 1].abs().max() < 1e-5
    assert after[-1, :, noised.group == 1].abs().max() > 1e-3
    # slots without an object are seen by none
    unseen = replace(noised, features=noised.features + 5 * ~noised.valid[..., None])
    with torch.no_grad():
        again, _ = model.predict(features, images.sizes, unseen)
    after = (again.part(own, None).boxes - found.part(own, None).boxes).abs().amax(-1)
    assert after[:, noised.valid].max() < 1e-5
    assert after[:, ~noised.valid].max() > 1e-3


def test_losses():
    """Their own, beside the same ones as without; those of slots without an object are nothing."""
    model, batch = tiny(denoising=Noise(6)), samples()
    torch.manual_seed(0)
    losses = model(batch)
    sum(losses.values()).backward()
    assert {k for k in losses if k.endswith("_dn")} == {"loss_cls_dn", "loss_box_dn", "loss_giou_dn"}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.denoising.class_features.weight.grad.abs().sum() > 0
    model.denoising = None
    plain = model(batch)
    torch.testing.assert_close({k: losses[k] for k in plain}, plain)

    model, empty = tiny(denoising=Noise(6)), samples()[2:]
    losses = model(empty)
    assert all(losses[f"loss_{k}_dn"] == 0 for k in ("cls", "box", "giou"))
    sum(losses.values()).backward()
    assert model.denoising.class_features.weight.grad.abs().sum() == 0


def test_predictions_do_not_change():
    batch = samples()
    one, other = tiny().eval(), tiny(denoising=Noise(), look_forward_twice=True).eval()
    assert other.load_state_dict(one.state_dict(), strict=False).missing_keys == ["denoising.class_features.weight"]
    with torch.no_grad():
        plain, found = one(batch), other(batch)
    for first, second in zip(plain, found):
        assert torch.equal(first["instances"].boxes, second["instances"].boxes)
        assert torch.equal(first["instances"].scores, second["instances"].scores)


@pytest.mark.parametrize("twice", [False, True])
def test_look_forward_twice(twice):
    """The boxes of a layer train the head before it, and no earlier one; only if asked for."""
    model, batch = tiny(look_forward_twice=twice), samples()
    images = model.preprocess(batch)
    queries, _ = model.predict(model.backbone(images.tensor), images.sizes)
    heads = [head.layers[-1].bias for head in model.bbox_embed[:3]]
    grads = torch.autograd.grad(queries.boxes[-1].sum(), heads, allow_unused=True)
    assert [g is not None and bool(g.abs().sum() > 0) for g in grads] == [False, twice, True]


@pytest.mark.parametrize("options", [{"num_queries": 0}, {"label_noise": 1.5}, {"box_noise": -1.0}])
def test_noise_out_of_range(options):
    with pytest.raises(ValueError, match=r"denoising: num_queries .* must be at least 1"):
        Noise(**options)


def test_contrastive_queries_where_the_objects_are():
    with pytest.raises(ValueError, match=r"box_noise 0 leaves the contrastive queries.* set contrastive=False"):
        Noise(box_noise=0.0)
    Noise(box_noise=0.0, contrastive=False)
