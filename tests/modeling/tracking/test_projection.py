"""The projection of tokens: untrained it changes nothing, and it refuses encoders that it does not fit."""

import numpy as np
import pytest
import torch

from pe_dense.engine.initialization import initialize
from pe_dense.modeling.backbone import EncoderFeatures, PerceptionEncoder
from pe_dense.modeling.tracking import LabelPropagation, ProjectedFeatures, TokenProjection, VideoObjectTracker


def encoder(dim: int = 24) -> PerceptionEncoder:
    torch.manual_seed(0)
    return PerceptionEncoder(dim, depth=2, num_heads=2, mlp_dim=48, patch_size=4, grid_size=8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_untrained_it_is_the_identity_bit_for_bit(dtype: torch.dtype) -> None:
    projection = TokenProjection(24, 32).to(dtype)
    tokens = (1000 * torch.randn(5, 7, 24)).to(dtype)
    tokens[0, 0] = 0
    assert torch.equal(projection(tokens), tokens)
    assert projection(tokens).dtype == dtype
    torch.nn.init.normal_(projection.out.weight)
    initialize(projection)
    assert torch.equal(projection(tokens), tokens)


def test_longer_tokens_come_out_longer() -> None:
    projection = TokenProjection(24, 32)
    torch.nn.init.normal_(projection.out.weight)
    tokens = torch.randn(3, 24)
    assert not torch.allclose(projection(tokens), tokens, atol=0.1)
    torch.testing.assert_close(projection(50 * tokens), 50 * projection(tokens), rtol=1e-4, atol=1e-4)
    assert projection(torch.zeros(1, 24)).isfinite().all()


def test_untrained_it_tracks_like_the_features_it_stands_on() -> None:
    tower, settings = encoder(), LabelPropagation(short_side=32, long_multiple=0)
    plain = VideoObjectTracker(EncoderFeatures(tower, [0], trainable_blocks=0), settings)
    projected = VideoObjectTracker(ProjectedFeatures(tower, TokenProjection(24, 32), [0]), settings)
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    masks = np.zeros((32, 48), np.uint8)
    masks[4:20, 8:30] = 3
    for tracker in (plain, projected):
        tracker.init(frames[0], masks)
    for frame in frames[1:]:
        assert np.array_equal(plain.step(frame), projected.step(frame))
        assert torch.equal(plain.scores(), projected.scores())
    torch.nn.init.normal_(projected.backbone.projection.out.weight, std=0.3)
    projected.init(frames[0], masks)
    assert not np.array_equal(plain.step(frames[1]), projected.step(frames[1]))


def test_only_the_projection_trains() -> None:
    features = ProjectedFeatures(encoder(), TokenProjection(24, 32))
    features(torch.randn(1, 3, 32, 32))[0].map.sum().backward()
    trained = {name for name, p in features.named_parameters() if p.grad is not None}
    assert trained == {"projection.out.weight", "projection.out.bias", "projection.hidden.weight",
                       "projection.hidden.bias"}  # fmt: skip
    assert features.embed_dim == 24


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dim is 16 but the encoder's tokens have 24 channels: set projection.dim=24"):
        ProjectedFeatures(encoder(), TokenProjection(16, 32))
    with pytest.raises(ValueError, match=r"layers \[0, 1\]: .* one layer"):
        ProjectedFeatures(encoder(), TokenProjection(24, 32), [0, 1])
    with pytest.raises(ValueError, match="hidden_dim must be at least 1, it is 0"):
        TokenProjection(24, 0)
