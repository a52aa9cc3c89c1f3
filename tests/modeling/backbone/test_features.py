"""Layers of the encoder for heads without a pyramid, and what becomes untrainable."""

import pytest
import torch

from pe_dense.modeling.backbone import EncoderFeatures, FeaturePyramid, PerceptionEncoder


def encoder(**options: object) -> PerceptionEncoder:
    return PerceptionEncoder(32, 4, 2, 64, patch_size=8, grid_size=4, **options)


def trained_blocks(tower: PerceptionEncoder) -> list[bool]:
    return [all(p.requires_grad for p in block.parameters()) for block in tower.blocks]


@pytest.mark.parametrize("use_cls_token", [True, False])
def test_layers_are_the_encoders(use_cls_token: bool) -> None:
    tower = encoder(use_cls_token=use_cls_token).eval()
    neck = EncoderFeatures(tower, [3, -4])
    images = torch.randn(2, 3, 40, 24)
    found = neck(images)
    for layer, index in zip(found, (3, 0)):
        [(grid, cls)] = tower.forward_intermediates_with_cls(images, [index])
        assert torch.equal(layer.map, grid)
        assert (layer.cls is None) == (not use_cls_token)
        assert cls is None or torch.equal(layer.cls, cls)
    assert found[0].map.shape == (2, neck.embed_dim, 40 // neck.stride, 24 // neck.stride)


def test_the_last_layer_by_default() -> None:
    assert EncoderFeatures(encoder()).layers == [3]


def test_what_trains() -> None:
    tower = encoder()
    EncoderFeatures(tower, [1])
    assert trained_blocks(tower) == [True, True, False, False]
    tower = encoder()
    EncoderFeatures(tower, [3], trainable_blocks=1)
    assert trained_blocks(tower) == [False, False, False, True]
    assert not tower.conv1.weight.requires_grad


def test_a_frozen_encoder_makes_no_graph() -> None:
    [layer] = EncoderFeatures(encoder(), trainable_blocks=0)(torch.randn(1, 3, 16, 16))
    assert layer.map.grad_fn is None


def test_unusable_layers() -> None:
    with pytest.raises(ValueError, match=r"blocks 0\.\.3 \(-1 is the last\), 4 is none"):
        EncoderFeatures(encoder(), [0, 4])
    with pytest.raises(ValueError, match=r"blocks 0\.\.3 \(-1 is the last\), 4 is none"):
        FeaturePyramid(encoder(), layers=[4])
    with pytest.raises(ValueError, match="layers is empty"):
        EncoderFeatures(encoder(), [])
    with pytest.raises(ValueError, match="no final norm"):
        EncoderFeatures(encoder(), norm=True)
