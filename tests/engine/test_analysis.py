"""Counts equal to those made by hand."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.ops import batched_nms, roi_align

from pe_dense.engine.analysis import analyze
from pe_dense.structures import Instances


class Attention(nn.Module):
    """Two heads of 4 channels over all tokens."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Tiny(nn.Module):
    """A detector in its interface: samples in, instances out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.trunk = nn.Sequential(nn.LayerNorm(8), Attention())
        self.stem.requires_grad_(False)

    def forward(self, samples):
        grid = self.stem(torch.stack([s["image"] for s in samples]).float())
        tokens = self.trunk(grid.flatten(2).transpose(1, 2))
        return [{"instances": Instances((16, 24), t[:, :4])} for t in tokens]


def by_name(analysis):
    return {part.name: part for part in analysis.parts}


def sample():
    return [{"image": torch.zeros(3, 16, 24, dtype=torch.uint8), "height": 16, "width": 24}]


def test_multiply_adds_by_hand():
    parts = by_name(analyze(Tiny().train(), sample(), depth=3))
    tokens = 4 * 6
    assert parts["stem"].macs == tokens * 8 * 3 * 4 * 4
    assert parts["trunk.1.qkv"].macs == tokens * 8 * 24
    assert parts["trunk.1.out"].macs == tokens * 8 * 8
    attention = 2 * tokens * tokens * 2 * 4  # two products, heads x channels
    assert parts["trunk.1"].macs == attention + tokens * 8 * (24 + 8)
    assert parts["trunk.0"].macs == 0
    assert parts[""].macs == parts["stem"].macs + parts["trunk"].macs
    assert parts[""].flops == 2 * parts[""].macs


def test_parameters_and_activations():
    parts = by_name(analyze(Tiny(), sample()))
    assert parts["stem"].parameters == 8 * 3 * 16 + 8
    assert parts["stem"].trainable == 0
    assert parts[""].trainable == parts["trunk"].parameters == 16 + 8 * 24 + 24 + 64
    assert parts["stem"].activations == 24 * 8
    assert parts["trunk"].activations == 24 * (24 + 8 + 8)


def test_depth_limits_the_parts():
    assert [p.name for p in analyze(Tiny(), sample(), depth=1).parts] == ["", "stem", "trunk"]
    assert [p.name for p in analyze(Tiny(), sample(), depth=0).parts] == [""]
    assert {p.depth for p in analyze(Tiny(), sample(), depth=2).parts} == {0, 1, 2}


def test_shared_weights_count_once():
    layer = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(layer, layer)
    whole = analyze(model, torch.zeros(5, 4)).parts[0]
    assert whole.parameters == 16
    assert whole.macs == 2 * 5 * 16


class Pool(nn.Module):
    def __init__(self, ratio):
        super().__init__()
        self.ratio = ratio

    def forward(self, batch):
        return roi_align(batch["map"], batch["rois"], (7, 7), 1.0, self.ratio, True)


@pytest.mark.parametrize(("ratio", "samples"), [(3, 9), (0, 4)])
def test_roi_align(ratio, samples):
    batch = {"map": torch.zeros(1, 5, 32, 32), "rois": torch.tensor([[0.0, 1, 1, 20, 20]] * 2)}
    assert analyze(Pool(ratio), batch).parts[0].macs == 2 * 5 * 49 * samples * 4


def test_training_mode_is_restored_and_unknown_operators_are_listed():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x)

    model = Odd().train()
    analysis = analyze(model, torch.eye(3))
    assert model.training
    assert "aten::linalg_svdvals" in analysis.uncounted
    assert not analyze(Tiny(), sample()).uncounted


def test_suppression_is_by_group(monkeypatch):
    """Of a crowd of boxes in many classes, all in one go would take the square of their number."""

    class Suppressing(nn.Module):
        def forward(self, boxes):
            groups = torch.arange(len(boxes)) % 100
            return boxes[batched_nms(boxes, boxes[:, 0], groups, 0.5)]

    monkeypatch.setattr(torchvision.ops.boxes, "_batched_nms_coordinate_trick", None)
    corner = torch.rand(2000, 2)
    boxes = torch.cat([corner, corner + 1], dim=1)
    analysis = analyze(Suppressing(), boxes)
    assert torch.equal(analysis.outputs, Suppressing()(boxes))
    assert not analysis.uncounted
