import inspect

import pytest
import torch

from pe_dense.config.references import dotted_path, import_dotted
from pe_dense.config.signatures import signature_of
from pe_dense.modeling import backbone
from pe_dense.modeling.backbone.builders import SIZES, build_tower

# name: (patch, width, layers, heads, hidden, class token, LayerScale, output, image), as released
RELEASED = {
    "PE-Core-G14-448": (14, 1536, 50, 16, 8960, False, None, 1280, 448),
    "PE-Core-L14-336": (14, 1024, 24, 16, 4096, True, None, 1024, 336),
    "PE-Core-B16-224": (16, 768, 12, 12, 3072, True, None, 1024, 224),
    "PE-Core-S16-384": (16, 384, 12, 6, 1536, True, None, 512, 384),
    "PE-Core-T16-384": (16, 192, 12, 3, 768, True, None, 512, 384),
    "PE-Lang-G14-448": (14, 1536, 47, 16, 8960, False, 0.1, None, 448),
    "PE-Lang-G14-448-Tiling": (14, 1536, 47, 16, 8960, False, 0.1, None, 448),
    "PE-Lang-L14-448": (14, 1024, 23, 16, 4096, True, 0.1, None, 448),
    "PE-Lang-L14-448-Tiling": (14, 1024, 23, 16, 4096, True, 0.1, None, 448),
    "PE-Spatial-G14-448": (14, 1536, 50, 16, 8960, False, 0.1, None, 448),
    "PE-Spatial-L14-448": (14, 1024, 24, 16, 4096, True, None, None, 448),
    "PE-Spatial-B16-512": (16, 768, 12, 12, 3072, True, None, None, 512),
    "PE-Spatial-S16-512": (16, 384, 12, 6, 1536, True, None, None, 512),
    "PE-Spatial-T16-512": (16, 192, 12, 3, 768, True, None, None, 512),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda s: s.name)
def test_sizes_are_the_released_ones(size):
    build = getattr(backbone, size.name.lower().replace("-", "_"))
    with torch.device("meta"):
        encoder = build()
    first = encoder.blocks[0]
    got = (
        encoder.patch_size, encoder.embed_dim, encoder.depth, encoder.num_heads, first.mlp.c_fc.out_features,
        encoder.class_embedding is not None, 0.1 if hasattr(first.ls_1, "gamma") else None,
        None if encoder.proj is None else encoder.proj.shape[1], size.image_size,
    )  # fmt: skip
    assert got == RELEASED[size.name]
    assert isinstance(encoder.ln_post, torch.nn.LayerNorm) == (encoder.attn_pool is not None) == size.is_core


def test_all_released_names_have_a_builder():
    assert {s.name for s in SIZES} == set(RELEASED)


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        (backbone.pe_spatial_t16_512, 5.683),
        (backbone.pe_spatial_s16_512, 21.983),
        (backbone.pe_spatial_b16_512, 86.434),
    ],
)
def test_parameter_counts(build, millions):
    with torch.device("meta"):
        assert round(sum(p.numel() for p in build().parameters()) / 1e6, 3) == millions


def test_builders_are_functions_that_configs_can_name_and_check():
    documented = list(inspect.signature(build_tower).parameters)[1:]
    for size in SIZES:
        name = size.name.lower().replace("-", "_")
        build = getattr(backbone, name)
        assert dotted_path(build) == f"pe_dense.modeling.backbone.builders.{name}"
        assert import_dotted(dotted_path(build)) is build
        assert size.name in build.__doc__
        signature = signature_of(build)
        assert list(signature.accepted) == documented
        assert not signature.open
        assert signature.required == ()
        assert set(documented) <= set(signature.hints)


def test_options_reach_the_encoder(tmp_path):
    native = backbone.pe_spatial_t16_512()
    torch.save(native.state_dict(), tmp_path / "w.pt")
    encoder = backbone.pe_spatial_t16_512(
        weights=str(tmp_path / "w.pt"), patch_size=8, grid_size=16, depth=5, use_cls_token=False, window_size=4,
        global_blocks=[4], abs_pos="tile", rope="rescaled", rope_reference=9, drop_path_rate=0.2, checkpoint_every=2,
        mask_padding=False, patch_resize="pinv",
    )  # fmt: skip
    assert (encoder.patch_size, encoder.grid_size, encoder.depth, encoder.window_size) == (8, 16, 5, 4)
    assert (encoder.abs_pos, encoder.rope_reference, encoder.checkpoint_every) == ("tile", 9, 2)
    assert [b.window for b in encoder.blocks] == [True] * 4 + [False]
    assert encoder.blocks[0].zero_padding
    assert encoder.blocks[4].drop_path.rate == pytest.approx(0.2)
    assert torch.equal(encoder.ln_pre.weight, native.ln_pre.weight)


@pytest.mark.parametrize("ln_post", [None, True, False])
def test_core_tower_as_a_bare_backbone(ln_post):
    with torch.device("meta"):
        encoder = backbone.pe_core_t16_384(pool=False, ln_post=ln_post, use_cls_token=False)
    assert encoder.attn_pool is None
    assert encoder.proj is None
    assert encoder.class_embedding is None
    assert isinstance(encoder.ln_post, torch.nn.LayerNorm) == bool(ln_post)


def test_final_norm_of_a_core_tower_without_its_pooling(tmp_path):
    options = {"depth": 2, "use_cls_token": False}
    native = backbone.pe_core_t16_384(depth=2)
    with torch.no_grad():
        native.ln_post.weight.normal_()
    torch.save(native.state_dict(), tmp_path / "core.pt")
    pyramid = backbone.FeaturePyramid(
        backbone.pe_core_t16_384(weights=str(tmp_path / "core.pt"), pool=False, ln_post=True, **options),
        out_channels=8,
        norm=True,
    )
    assert torch.equal(pyramid.backbone.ln_post.weight, native.ln_post.weight)
    images = torch.randn(1, 3, 64, 64)
    raw, normed = (pyramid.backbone.forward_intermediates(images, [1], norm=n)[0] for n in (False, True))
    torch.testing.assert_close(native.ln_post(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), normed)
    sum(x.mean() for x in pyramid(images).values()).backward()
    assert all(p.grad is not None for p in pyramid.parameters())


def test_impossible_options():
    with pytest.raises(ValueError, match="depth 13: PE-Spatial-T16-512 has 12 blocks"):
        backbone.pe_spatial_t16_512(depth=13)
    for option in ("pool", "ln_post"):
        with pytest.raises(ValueError, match=f"{option}=True: only PE-Core towers .* not PE-Spatial-T16-512"):
            backbone.pe_spatial_t16_512(**{option: True})
