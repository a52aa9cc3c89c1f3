"""Propagation against the oracle of DINO's script, hand cases, and a dense version written here."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.modeling.tracking import LabelPropagation, normalized_tokens, propagate
from pe_dense.modeling.tracking.soft_labels import hard_labels

CASES = ("default_like", "no_neighborhood", "queue_1")


def dense(target: Tensor, sources: list[Tensor], labels: list[Tensor], settings: LabelPropagation) -> Tensor:
    """All sources x targets at once, in double precision; top-k with ties."""
    height, width = target.shape[:2]
    y, x = (v.flatten() for v in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    down, across = (y[:, None] - y).abs(), (x[:, None] - x).abs()
    r = settings.radius or 10**6
    near = torch.maximum(down, across) <= r if settings.neighborhood == "square" else down**2 + across**2 <= r**2
    cosines = torch.cat([s.flatten(0, 1) for s in sources]).double() @ target.flatten(0, 1).double().T
    cosines = cosines.masked_fill(~near.repeat(len(sources), 1), -torch.inf)
    least = cosines.topk(min(settings.topk, len(cosines)), dim=0).values[-1]
    weights = (cosines.masked_fill(cosines < least, -torch.inf) / settings.temperature).softmax(0)
    return (weights.T @ torch.cat([m.flatten(0, 1) for m in labels]).double()).view(height, width, -1).float()


def random_case(height: int, width: int, frames: int = 3) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(height * width)
    tokens = [F.normalize(torch.randn(height, width, 8, generator=generator), dim=-1) for _ in range(frames + 1)]
    return tokens[0], tokens[1:], [torch.rand(height, width, 3, generator=generator) for _ in range(frames)]


@pytest.mark.parametrize("tile", [1, 4, 100])
@pytest.mark.parametrize("name", CASES)
def test_equals_dinos_script(fixtures, name, tile):
    folder = fixtures / "davis_labelprop"
    meta = json.loads((folder / "meta.json").read_text())["cases"][name]
    data = np.load(folder / f"{name}.npz")
    grid = (meta["h"], meta["w"])
    settings = LabelPropagation(
        queue=meta["n_last_frames"], radius=meta["size_mask_neighborhood"], topk=meta["topk"],
        temperature=meta["temperature"], tile=tile,
    )  # fmt: skip
    tokens = [normalized_tokens(torch.from_numpy(f).T.unflatten(1, grid)) for f in data["features"]]
    soft = [torch.from_numpy(data["first_onehot"][0]).permute(1, 2, 0)]
    height, width = meta["out_size"]
    assert len(tokens) == len(data["expected_segs"]) + 1 > settings.queue - 1
    for t in range(1, len(tokens)):
        seen = [0, *range(max(1, t - settings.queue), t)]
        soft.append(propagate(tokens[t], [tokens[i] for i in seen], [soft[i] for i in seen], settings))
        np.testing.assert_allclose(soft[t].permute(2, 0, 1), data["expected_segs"][t - 1], atol=2e-5, rtol=0)
        labels = hard_labels(soft[t], (height, width), (height, width), settings)
        assert (labels.numpy() != data["expected_labels"][t - 1]).mean() <= 1e-3


@pytest.mark.parametrize("settings", [LabelPropagation.dino(), LabelPropagation.dinov3()])
def test_hand_case(fixtures, settings):
    case = json.loads((fixtures / "davis_labelprop" / "tiny.json").read_text())
    settings = replace(settings, topk=case["topk"], temperature=case["temperature"])
    target, source = (F.normalize(torch.tensor([case[k]]).float(), dim=-1) for k in ("features1", "features0"))
    labels = F.one_hot(torch.tensor(case["labels0"]), 2).float()
    got = propagate(target, [source], [labels], settings).permute(2, 0, 1)
    np.testing.assert_allclose(got, case["expected_prob_channel_by_pixel"], atol=1e-5)


@pytest.mark.parametrize("shape", ["square", "circle"])
@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize(
    ("grid", "radius", "tile"), [((9, 13), 3, 4), ((5, 30), 12, 7), ((1, 1), 2, 3), ((8, 6), 0, 5)]
)
def test_equals_the_dense_version(grid, radius, tile, ties, shape):
    settings = LabelPropagation(radius=radius, neighborhood=shape, tile=tile, ties=ties, temperature=0.2)
    case = random_case(*grid)
    torch.testing.assert_close(propagate(*case, settings), dense(*case, settings), atol=2e-6, rtol=0)


def test_few_sources_in_a_corner():
    """The corner's neighbourhood holds fewer tokens than are asked for: what lies outside stays without weight."""
    settings = LabelPropagation(radius=1, topk=9)
    case = random_case(6, 6, frames=1)
    for ties in (True, False):
        got = propagate(*case, replace(settings, ties=ties))
        torch.testing.assert_close(got, dense(*case, settings), atol=2e-6, rtol=0)
        assert got.isfinite().all()


def test_ties():
    """Three sources are as alike as the second best: with ties all count, without only as many as asked for."""
    target = torch.tensor([[[1.0, 0.0]] * 4])
    sources = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    labels = torch.eye(4)[None]
    settings = LabelPropagation(topk=2, temperature=1.0)
    e = float(np.e)
    with_ties = propagate(target, [sources], [labels], settings)[0, 0]
    torch.testing.assert_close(with_ties, torch.tensor([e, 1, 1, 1]) / (e + 3))
    without = propagate(target, [sources], [labels], replace(settings, ties=False))[0, 0]
    assert without[0] == pytest.approx(e / (e + 1))
    assert sorted(without[1:].tolist()) == pytest.approx([0, 0, 1 / (e + 1)])


def test_low_temperature_and_renormalisation():
    target, sources, labels = random_case(4, 5)
    cold = propagate(target, sources, labels, LabelPropagation(temperature=1e-3))
    assert cold.isfinite().all()
    normal = propagate(target, sources, labels, LabelPropagation(renormalize=True))
    torch.testing.assert_close(normal.sum(-1), torch.ones(4, 5))
    assert not torch.allclose(propagate(target, sources, labels, LabelPropagation()).sum(-1), torch.ones(4, 5))


def test_presets():
    dino, v3 = LabelPropagation.dino(), LabelPropagation.dinov3()
    shared = {f.name for f in fields(dino) if getattr(dino, f.name) == getattr(v3, f.name)}
    assert shared == {"queue", "radius", "topk", "min_score", "tile"}
    assert (dino.queue, dino.radius, dino.topk, dino.temperature, v3.temperature) == (7, 12, 5, 0.1, 0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topk": 0}, "topk must be at least 1, it is 0"),
        ({"radius": -1}, "radius must be at least 0"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"short_side": 32}, "long_multiple 64 exceeds short_side 32"),
        ({"min_score": 1.0}, "min_score must lie in"),
        ({"neighborhood": "cross"}, '"cross" is none of square, circle'),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(ValueError, match=message):
        LabelPropagation(**change)


def test_wrong_shapes():
    target, sources, labels = random_case(4, 5)
    with pytest.raises(ValueError, match="0 source frames and 0 label maps"):
        propagate(target, [], [], LabelPropagation())
    with pytest.raises(ValueError, match="same grid"):
        propagate(target[:3], sources, labels, LabelPropagation())
