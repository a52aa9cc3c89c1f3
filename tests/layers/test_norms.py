import torch

from pe_dense.layers.conv_norm import ConvNorm
from pe_dense.layers.layer_norm2d import LayerNorm2d


def test_layer_norm_over_channels():
    x = torch.randn(2, 5, 3, 4) * 7 + 2
    norm = LayerNorm2d(5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    expected = (x - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_conv_norm_keeps_the_size_and_has_no_bias():
    layer = ConvNorm(3, 6, 3)
    assert layer(torch.randn(1, 3, 5, 7)).shape == (1, 6, 5, 7)
    assert sorted(layer.state_dict()) == ["norm.bias", "norm.weight", "weight"]
