"""Necks on the shape of an encoder that they share."""

import pytest
import torch

from pe_dense.modeling.backbone import EncoderFeatures, EncoderShape, FeaturePyramid, PerceptionEncoder


def encoder(**options: object) -> PerceptionEncoder:
    return PerceptionEncoder(32, 4, 2, 64, patch_size=8, grid_size=4, **options)


def test_necks_make_the_same_of_the_shared_encoders_layers() -> None:
    tower = encoder(use_ln_post=True, use_cls_token=True).eval()
    shape = EncoderShape.of(tower)
    images = torch.randn(2, 3, 32, 16)
    own, shared = EncoderFeatures(tower, [0, -1], norm=True), EncoderFeatures(shape, [0, -1], norm=True)
    layers = tower.forward_intermediates_with_cls(images, shared.layers, norm=True)
    for one, other in zip(own(images), shared.from_layers(layers)):
        assert torch.equal(one.map, other.map)
        assert torch.equal(one.cls, other.cls)

    own_pyramid, pyramid = (FeaturePyramid(e, 16, "per_level", levels=["p3", "p4"]) for e in (tower, shape))
    assert (own_pyramid.layers, own_pyramid.strides) == (pyramid.layers, pyramid.strides)
    assert own_pyramid.size_divisibility == pyramid.size_divisibility
    pyramid.load_state_dict({k: v for k, v in own_pyramid.state_dict().items() if not k.startswith("backbone.")})
    layers = tower.forward_intermediates_with_cls(images, pyramid.layers)
    for level, grid in pyramid.from_layers(layers).items():
        assert torch.equal(grid, own_pyramid(images)[level])


def test_only_the_neck_is_in_the_state_dict_and_the_encoder_stays_as_it_was() -> None:
    tower = encoder()
    pyramid = FeaturePyramid(EncoderShape.of(tower), 16, layers=[1], trainable_blocks=1)
    assert not any(name.startswith("backbone.") for name in pyramid.state_dict())
    assert all(p.requires_grad for p in tower.parameters())
    assert pyramid.backbone.trainable_blocks == 1
    assert not EncoderFeatures(EncoderShape.of(tower)).state_dict()


def test_what_cannot_be_asked_of_it() -> None:
    shape = EncoderShape(32, 4)
    with pytest.raises(RuntimeError, match="built on an EncoderShape: run the shared encoder"):
        EncoderFeatures(shape)(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"blocks 0\.\.3"):
        EncoderFeatures(shape, [4])
    with pytest.raises(ValueError, match="no final norm"):
        FeaturePyramid(shape, norm=True)
