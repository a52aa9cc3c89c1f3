import inspect

import pytest
import torch

from pe_dense.modeling import backbone
from pe_dense.modeling.backbone.builders import SIZES, Builder

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


def test_builders_share_the_documented_signature():
    documented = [p for p in inspect.signature(Builder.__call__).parameters if p != "self"]
    for size in SIZES:
        build = getattr(backbone, size.name.lower().replace("-", "_"))
        assert list(inspect.signature(build).parameters) == documented


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


def test_core_tower_as_a_bare_backbone():
    with torch.device("meta"):
        encoder = backbone.pe_core_t16_384(pool=False, use_cls_token=False)
    assert encoder.attn_pool is None
    assert encoder.proj is None
    assert encoder.class_embedding is None


def test_impossible_options():
    with pytest.raises(ValueError, match="depth 13: PE-Spatial-T16-512 has 12 blocks"):
        backbone.pe_spatial_t16_512(depth=13)
    with pytest.raises(ValueError, match="PE-Spatial-T16-512 has no attention pooling"):
        backbone.pe_spatial_t16_512(pool=True)
