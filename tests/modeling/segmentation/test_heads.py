import pytest
import torch
import torch.nn.functional as F

from pe_dense.engine.initialization import initialize
from pe_dense.modeling.backbone import LayerFeatures
from pe_dense.modeling.segmentation import LinearSegHead, PyramidSegHead


def layers(*channels):
    return [LayerFeatures(torch.randn(2, c, 3, 4), None) for c in channels]


def test_linear_is_normalisation_and_a_matrix():
    head = LinearSegHead(12, 5)
    features = layers(4, 8)
    x = torch.cat([f.map for f in features], 1)
    normed = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    expected = torch.einsum("bchw,kc->bkhw", normed, head.predictor.weight[:, :, 0, 0])
    torch.testing.assert_close(head(features), expected)
    plain = LinearSegHead(8, 5, norm=None)
    [only] = layers(8)
    assert torch.equal(plain([only]), plain.predictor(only.map))


def test_dropout_of_channels_in_training_only():
    torch.manual_seed(0)
    head = LinearSegHead(8, 5, norm=None, dropout=0.5)
    [only] = layers(8)
    assert not torch.equal(head([only]), head([only]))
    assert torch.equal(head.eval()([only]), head([only]))


def pyramid(base=8):
    return {name: torch.randn(2, 16, base >> i, base >> i) for i, name in enumerate(["p2", "p3", "p4", "p5"])}


def test_pyramid_head_has_the_finest_levels_resolution_and_trains_everything():
    head = PyramidSegHead(16, 5)
    features = pyramid() | {"p6": torch.randn(2, 16, 1, 1)}
    logits = head(features)
    assert logits.shape == (2, 5, 8, 8)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    some = PyramidSegHead(16, 5, levels=["p4"])
    assert some(features).shape == (2, 5, 2, 2)
    with pytest.raises(ValueError, match="levels is empty"):
        PyramidSegHead(16, 5, levels=[])


def test_every_level_and_the_whole_image_matter():
    head = PyramidSegHead(16, 5).eval()
    features = pyramid()
    logits = head(features)
    for name in features:
        changed = features | {name: features[name] + torch.randn(16, 1, 1)}
        assert not torch.allclose(head(changed), logits)
    far = {**features, "p5": features["p5"].clone()}
    far["p5"][:, :, 0, 0] += torch.randn(16)
    assert not torch.allclose(head(far)[:, :, -1, -1], logits[:, :, -1, -1])


def test_fusing_before_enlarging_changes_nothing():
    """A 1 x 1 convolution of stacked, enlarged levels is the sum of the levels' own, enlarged afterwards."""
    a, b = torch.randn(1, 6, 4, 4), torch.randn(1, 6, 8, 8)
    weight = torch.randn(3, 12, 1, 1)
    up = lambda x: F.interpolate(x, (8, 8), mode="bilinear")
    stacked = F.conv2d(torch.cat([up(a), b], 1), weight)
    torch.testing.assert_close(up(F.conv2d(a, weight[:, :6])) + F.conv2d(b, weight[:, 6:]), stacked)


@pytest.mark.parametrize("make", [lambda: LinearSegHead(8, 5), lambda: PyramidSegHead(16, 5)])
def test_initial_values(make):
    with torch.device("meta"):
        head = make()
    for built in (make(), head.to_empty(device="cpu")):
        initialize(built)
        assert 0.005 < built.predictor.weight.std() < 0.02
        assert not built.predictor.bias.any()
