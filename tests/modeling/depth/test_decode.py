"""From logits to depth, against DINOv2's and DINOv3's own decoders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pe_dense.modeling.depth import DepthBins, DepthRegression

CASES = [
    ("nyu_linear", 10.0, {}),
    ("nyu_softmax", 10.0, {"normalization": "softmax"}),
    ("nyu_sigmoid", 10.0, {"normalization": "sigmoid"}),
    ("nyu_log_linear", 10.0, {"spacing": "log"}),
    ("kitti_linear", 80.0, {}),
    ("kitti_softmax", 80.0, {"normalization": "softmax"}),
    ("kitti_sigmoid", 80.0, {"normalization": "sigmoid"}),
    ("kitti_log_linear", 80.0, {"spacing": "log"}),
]


@pytest.mark.parametrize(("name", "max_depth", "options"), CASES)
def test_bins_are_the_published_ones(fixtures: Path, name: str, max_depth: float, options: dict) -> None:
    data = np.load(fixtures / "depth" / "bins.npz")
    logits = torch.from_numpy(data["logits"])
    depth = DepthBins(1e-3, max_depth, bins=logits.shape[1], **options)(logits)
    np.testing.assert_allclose(depth.numpy(), data[name], rtol=1e-6)


def test_regression_is_the_published_one(fixtures: Path) -> None:
    data = np.load(fixtures / "depth" / "bins.npz")
    depth = DepthRegression(1e-3)(torch.from_numpy(data["logits"][:, :1]))
    np.testing.assert_array_equal(depth.numpy(), data["regression"])


def test_bins_by_hand(fixtures: Path) -> None:
    case = json.loads((fixtures / "depth" / "expected.json").read_text())["bins_hand"]
    decoder = DepthBins(case["min_depth"], case["max_depth"], bins=case["n_bins"])
    assert decoder.depths().tolist() == pytest.approx(case["bins"])
    logits = torch.tensor(case["logits"]).view(1, -1, 1, 1)
    assert decoder(logits).item() == pytest.approx(case["depth"], rel=1e-6)


def test_log_spacing_has_equal_ratios_between_the_ends() -> None:
    depths = DepthBins(0.1, 100.0, bins=4, spacing="log").depths()
    assert depths.tolist() == pytest.approx([0.1, 1, 10, 100], rel=1e-5)


@pytest.mark.parametrize("normalization", ["linear", "softmax", "sigmoid"])
def test_depth_is_float32_under_autocast(normalization: str) -> None:
    logits = torch.randn(1, 256, 4, 4)
    decoder = DepthBins(normalization=normalization)
    with torch.autocast("cpu", torch.bfloat16):
        inside = decoder(logits)
    assert torch.equal(inside, decoder(logits))
    assert decoder(logits.bfloat16()).dtype == DepthRegression()(logits.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_depth": 0.0}, "0 < min_depth < max_depth"),
        ({"min_depth": 5.0, "max_depth": 5.0}, "max_depth 5.0"),
        ({"bins": 1}, "bins 1"),
        ({"spacing": "sid"}, 'spacing "sid" is unknown'),
        ({"normalization": "relu"}, 'normalization "relu" is unknown'),
    ],
)
def test_bad_bins(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthBins(**options)


def test_bad_regression() -> None:
    with pytest.raises(ValueError, match="min_depth must be 0 or more"):
        DepthRegression(-1.0)
