"""Parameter groups and optimiser recipes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pe_dense.engine.optim import SGD, AdamW, ParameterGroups
from pe_dense.modeling.backbone import PerceptionEncoder


def tiny_encoder(depth: int = 4) -> PerceptionEncoder:
    return PerceptionEncoder(embed_dim=24, depth=depth, num_heads=2, mlp_dim=48, grid_size=2, layer_scale=0.1)


class TinyPyramid(nn.Module):
    """The encoder where the released detectors have it (``net``), beside other layers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_encoder()
        self.simfp_4 = nn.Sequential(nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8))


class TinyDetector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = TinyPyramid()
        self.head = nn.Linear(8, 3)


def test_layer_decay_matches_the_released_rates(fixtures: Path) -> None:
    data = np.load(fixtures / "pe" / "vitdet_b1_tile_ls.npz")
    released = dict(zip(data["lr_decay_names"].tolist(), data["lr_decay_rates"].tolist()))
    ours = ParameterGroups(layer_decay=0.9).lr_factors(TinyPyramid())
    encoder = {name for name in ours if name.startswith("net.")}
    assert encoder == {name for name in released if name.startswith("net.")}
    assert {name: ours[name] for name in encoder} == pytest.approx({name: released[name] for name in encoder})
    assert {ours[name] for name in ours if name not in encoder} == {1.0}


def test_groups_are_few_named_and_complete() -> None:
    model = TinyDetector()
    optimizer = AdamW(lr=1e-3, weight_decay=0.1, layer_decay=0.9)(model)
    groups = optimizer.param_groups
    assert len(groups) == 2 * 6  # patch embedding, 4 blocks, the rest; with and without decay
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert {g["name"] for g in groups} >= {"lr x 1, decay", "lr x 0.5905, no decay"}
    block0 = next(
        g for g in groups if any(p is model.backbone.net.transformer.resblocks[0].mlp.c_fc.weight for p in g["params"])
    )
    assert block0["lr"] == pytest.approx(1e-3 * 0.9**4)


def test_norms_biases_and_positions_are_not_decayed() -> None:
    model = TinyDetector()
    decayed = {id(p) for g in AdamW(lr=1.0)(model).param_groups if g["weight_decay"] for p in g["params"]}
    for name, parameter in model.named_parameters():
        exempt = parameter.ndim <= 1 or name.endswith("positional_embedding")
        assert (id(parameter) in decayed) == (not exempt), name
    everything = AdamW(lr=1.0, decay_everything=True)(model).param_groups
    assert [g["weight_decay"] for g in everything] == [0.1]


def test_frozen_parameters_are_left_out_and_prefixes_scale() -> None:
    model = TinyDetector()
    model.backbone.net.requires_grad_(False)
    groups = ParameterGroups(lr_multipliers={"backbone.": 0.5, "backbone.simfp_4.1": 0.1})(model, lr=1.0)
    assert sorted({g["lr"] for g in groups}) == pytest.approx([0.05, 0.5, 1.0])
    factors = ParameterGroups(lr_multipliers={"*.bias": 0.5}).lr_factors(model)
    assert {f for n, f in factors.items() if n.endswith(".bias")} == {0.5}
    assert {f for n, f in factors.items() if not n.endswith(".bias")} == {1.0}
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        AdamW(lr=1.0)(model)


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("meta", None)])
def test_one_kernel_for_all_parameters_where_the_device_has_it(device: str, fused: bool | None) -> None:
    model = nn.Linear(2, 2, device=device)
    assert {group["fused"] for group in AdamW(lr=1.0)(model).param_groups} == {fused}
    assert {group["fused"] for group in AdamW(lr=1.0, fused=False)(model).param_groups} == {None}


def test_errors_name_the_key() -> None:
    with pytest.raises(ValueError, match=r"lr_multipliers.*'backbon\.'.*'backbone', 'head'"):
        AdamW(lr=1.0, lr_multipliers={"backbon.": 0.1})(TinyDetector())
    with pytest.raises(ValueError, match=r"layer_decay is 0\.9 but no part"):
        AdamW(lr=1.0, layer_decay=0.9)(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layer_decay must lie"):
        ParameterGroups(layer_decay=1.5)
    for recipe in (AdamW(lr=-1.0), SGD(lr=float("nan"))):
        with pytest.raises(ValueError, match=r"optimizer\.lr is (-1\.0|nan): give 0 or more"):
            recipe(nn.Linear(2, 2))


@pytest.mark.parametrize("recipe", [AdamW(lr=0.05, betas=[0.9, 0.99]), SGD(lr=0.05)])
def test_recipes_train(recipe: AdamW | SGD) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = recipe(model)
    inputs = torch.randn(32, 4)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
