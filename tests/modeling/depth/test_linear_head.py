"""The linear head equals the recipe's order of steps, which costs more."""

import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.backbone import LayerFeatures
from pe_dense.modeling.depth import DepthBins, DepthRegression, LinearDepthHead

CHANNELS = 6


def layers(count: int, cls: bool = True) -> list[LayerFeatures]:
    rng = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, CHANNELS, 3, 5, generator=rng) for _ in range(count)]
    return [LayerFeatures(m, torch.randn(2, CHANNELS, generator=rng) if cls else None) for m in maps]


def spread(head: LinearDepthHead) -> LinearDepthHead:
    """With larger weights than at the start, so that the logits differ."""
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    return head


@pytest.mark.parametrize("count", [1, 4])
def test_as_if_tokens_were_joined_and_features_upsampled(count: int) -> None:
    head = spread(LinearDepthHead(count * CHANNELS, DepthBins(bins=16)))
    features = layers(count)
    x = torch.cat([torch.cat([m, c[:, :, None, None].expand_as(m)], 1) for m, c in features], 1)
    x = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    patch, cls = head.predictor.weight[:, :, 0, 0], head.cls_predictor.weight
    parts = [w for pair in zip(patch.chunk(count, 1), cls.chunk(count, 1)) for w in pair]
    expected = head.decoder(F.conv2d(x, torch.cat(parts, 1)[:, :, None, None], head.predictor.bias))
    torch.testing.assert_close(head(features), expected, rtol=1e-5, atol=1e-5)
    assert expected.shape == (2, 1, 12, 20)


def test_dinov3s_form() -> None:
    head = spread(LinearDepthHead(CHANNELS, DepthBins(bins=16), use_cls=False, upsample=1, norm="sync_bn"))
    [layer] = layers(1, cls=False)
    expected = head.decoder(head.predictor(F.batch_norm(layer.map, None, None, head.norm.weight, head.norm.bias, True)))
    torch.testing.assert_close(head([layer]), expected)
    assert head.norm.num_batches_tracked == 1


@pytest.mark.parametrize("decoder", [DepthBins(), DepthRegression()])
def test_starts_near_the_middle_and_trains_every_parameter(decoder) -> None:
    torch.manual_seed(0)
    head = LinearDepthHead(CHANNELS, decoder)
    depth = head(layers(1))
    torch.testing.assert_close(
        depth, torch.full_like(depth, 5.0 if isinstance(decoder, DepthBins) else 1.0), rtol=0.4, atol=0
    )
    depth.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_no_class_token() -> None:
    with pytest.raises(ValueError, match="this encoder has none: set use_cls=False"):
        LinearDepthHead(CHANNELS, DepthBins())(layers(1, cls=False))
