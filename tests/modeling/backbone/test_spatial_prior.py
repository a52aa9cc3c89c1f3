import pytest
import torch

from pe_dense.engine.initialization import initialize
from pe_dense.modeling.backbone import EncoderShape, FeaturePyramid, PerceptionEncoder, SpatialPriorPyramid


def encoder(**changes):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 4, "num_heads": 2, "mlp_dim": 48, "patch_size": 16, "grid_size": 4}
    return PerceptionEncoder(**{**sizes, **changes})


def test_without_its_maps_it_is_the_pyramid():
    pyramid = SpatialPriorPyramid(encoder(), 8, mode="per_level", prior_channels=4)
    plain = FeaturePyramid(encoder(), 8, mode="per_level")
    plain.load_state_dict({k: v for k, v in pyramid.state_dict().items() if not k.startswith("prior.")})
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = plain(images), pyramid(images)
        for conv in pyramid.prior.out.values():
            conv.weight.zero_()
            conv.bias.zero_()
        silenced = pyramid(images)
    assert list(found) == list(silenced) == list(expected)
    for name, level in silenced.items():
        assert torch.equal(level, expected[name])
        assert (found[name] - level).abs().mean() > 0.01


def test_prior_reaches_details_that_one_patch_hides():
    pyramid = SpatialPriorPyramid(encoder(), 8, levels=["p2"], trainable_blocks=0, prior_channels=4).eval()
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[..., 60:, 60:] += 1
    with torch.no_grad():
        own = pyramid.prior(changed)[0] - pyramid.prior(images)[0]
    assert own[..., -1, -1].any()
    assert not own[..., :12, :12].any()  # two 3 x 3 convolutions reach two cells


@pytest.mark.parametrize(
    ("patch", "levels"), [(14, ["p2", "p3", "p4", "p5", "p6"]), (16, ["p3", "p5"]), (8, ["p4"]), (8, ["p2", "p5"])]
)
def test_sizes_where_strides_are_no_whole_numbers_or_levels_are_left_out(patch, levels):
    build = {"patch_size": patch, "grid_size": 4}
    pyramid = SpatialPriorPyramid(encoder(**build), 8, levels=levels, prior_channels=4)
    plain = FeaturePyramid(encoder(**build), 8, levels=levels)
    size = 4 * pyramid.size_divisibility
    images = torch.randn(1, 3, size, 2 * size)
    found, expected = pyramid(images), plain(images)
    assert {name: x.shape for name, x in found.items()} == {name: x.shape for name, x in expected.items()}
    sum(x.square().mean() for x in found.values()).backward()
    assert not [n for n, p in pyramid.prior.named_parameters() if p.grad is None or not p.grad.any()]


def test_prior_that_starts_finer():
    """The same maps, from a finer stem; every part of it is used."""
    options = {"levels": ["p3", "p4"], "prior_channels": 4}
    pyramid = SpatialPriorPyramid(encoder(), 8, prior_stride=2, **options)
    plain = SpatialPriorPyramid(encoder(), 8, **options)
    images = torch.randn(1, 3, 64, 96)
    found = pyramid(images)
    assert {name: x.shape for name, x in found.items()} == {name: x.shape for name, x in plain(images).items()}
    assert pyramid.prior.stem[0].stride == (2, 2)
    assert len(pyramid.prior.stages) == 4
    sum(x.square().mean() for x in found.values()).backward()
    assert not [n for n, p in pyramid.prior.named_parameters() if p.grad is None or not p.grad.any()]
    for wrong in (3, 16):
        with pytest.raises(
            ValueError, match=f"prior_stride {wrong}: doubling it does not lead to the finest level's 8"
        ):
            SpatialPriorPyramid(encoder(), 8, prior_stride=wrong, **options)


def test_initialised_from_the_meta_device():
    with torch.device("meta"):
        pyramid = SpatialPriorPyramid(encoder(), 8, prior_channels=4)
    pyramid.to_empty(device="cpu")
    initialize(pyramid)
    assert all(torch.isfinite(p).all() for p in pyramid.parameters())
    assert pyramid.prior.out["0"].weight.any()


def test_without_the_image():
    shape = EncoderShape(embed_dim=32, depth=4, patch_size=16)
    with pytest.raises(ValueError, match="use FeaturePyramid where tasks share an encoder"):
        SpatialPriorPyramid(shape, 8)
    with pytest.raises(RuntimeError, match="needs the image"):
        SpatialPriorPyramid(encoder(), 8).from_layers([])
