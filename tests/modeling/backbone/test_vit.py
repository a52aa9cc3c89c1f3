import copy
import re

import numpy as np
import pytest
import timm
import torch

from pe_dense.modeling.backbone import builders
from pe_dense.modeling.backbone.vit import PerceptionEncoder
from pe_dense.modeling.backbone.weights import from_timm, to_timm


def tiny(**changes):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 4, "num_heads": 2, "mlp_dim": 48, "patch_size": 4, "grid_size": 4}
    encoder = PerceptionEncoder(**{**sizes, **changes})
    with torch.no_grad():
        for p in encoder.parameters():  # sharp attention and positions, so that a mistake shows
            p.add_(torch.randn_like(p) * 0.3)
    return encoder.eval()


def load_fixture(fixtures, name):
    stored = torch.load(fixtures / "pe" / f"{name}.pt", weights_only=True)
    return stored, {
        k: torch.from_numpy(v) for k, v in np.load(fixtures / "pe" / f"{name}.npz").items() if v.dtype.kind == "f"
    }


@pytest.mark.parametrize("name", ["core_a1_nocls_ls", "core_a2_cls"])
@pytest.mark.parametrize("size", ["native", "small", "large"])
def test_core_parity(fixtures, name, size):
    stored, data = load_fixture(fixtures, name)
    c = stored["config"]
    encoder = PerceptionEncoder(
        c["width"], c["layers"], c["heads"], round(c["width"] * c["mlp_ratio"]), grid_size=8,
        use_cls_token=c["use_cls_token"], layer_scale=c["ls_init_value"],
    ).eval()  # fmt: skip
    encoder.load_state_dict(stored["state_dict"])
    images, close = data[f"{size}.input"], {"atol": 2e-5, "rtol": 0}
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.forward_features(images, norm=False), data[f"{size}.features.norm0"], **close
        )
        torch.testing.assert_close(encoder(images), data[f"{size}.forward"], **close)
        for i, (x, cls) in enumerate(encoder.forward_intermediates_with_cls(images, range(4))):
            expected = data[f"{size}.layer{i}"]
            tokens = x.flatten(2).transpose(1, 2)
            if cls is not None:
                tokens = torch.cat([cls[:, None], tokens], dim=1)
            torch.testing.assert_close(tokens, expected, **close)


def test_released_detector_backbone_parity(fixtures):
    stored, data = load_fixture(fixtures, "vitdet_b1_tile_ls")
    encoder = PerceptionEncoder(
        96, 4, 3, 384, grid_size=8, layer_scale=0.1, window_size=8, global_blocks=(1, 3), abs_pos="tile",
        rope="rescaled",
    ).eval()  # fmt: skip
    state = {k[4:]: v for k, v in stored["state_dict"].items() if k.startswith("net.") and "freqs" not in k}
    state["positional_embedding"] = state["positional_embedding"][0]
    encoder.load_state_dict(state)
    with torch.no_grad():
        maps = encoder.forward_intermediates(data["input"], [0, 1, 2, 3])
    for i, x in enumerate(maps):
        torch.testing.assert_close(x.permute(0, 2, 3, 1), data[f"block{i}"], atol=2e-5, rtol=0)


@pytest.mark.parametrize(("policy", "key"), [("tile", "tile1"), ("bicubic", "tile0")])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (9, 14), (4, 5), (12, 12)])
def test_position_policies(fixtures, policy, key, height, width):
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    encoder = tiny(embed_dim=16, grid_size=6, abs_pos=policy)
    with torch.no_grad():
        encoder.positional_embedding.copy_(torch.from_numpy(data["abspos.in"])[0, 1:])
        got = encoder._positions(height, width)
    torch.testing.assert_close(got[None], torch.from_numpy(data[f"abspos.{key}.{height}x{width}"]), atol=1e-5, rtol=0)


TOWERS = [
    (builders.pe_spatial_t16_512, "vit_pe_spatial_tiny_patch16_512", 512),
    (builders.pe_spatial_s16_512, "vit_pe_spatial_small_patch16_512", 512),
    (builders.pe_spatial_b16_512, "vit_pe_spatial_base_patch16_512", 512),
    (builders.pe_core_t16_384, "vit_pe_core_tiny_patch16_384", 384),
]


@pytest.mark.parametrize(("build", "timm_name", "size"), TOWERS)
def test_timm_parity_both_ways(build, timm_name, size):
    torch.manual_seed(0)
    ours, theirs = build().eval(), timm.create_model(timm_name).eval()
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    theirs.load_state_dict(to_timm(ours.state_dict()))
    back = from_timm(theirs.state_dict())
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(back[k], v) for k, v in ours.state_dict().items())
    images = torch.randn(1, 3, size, size)
    with torch.no_grad():
        maps = ours.forward_intermediates(images, [2, ours.depth - 1])
        expected = theirs.forward_intermediates(images, indices=[2, ours.depth - 1], intermediates_only=True)
        for a, b in zip(maps, expected):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        if ours.attn_pool is not None:
            torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)


def test_gradients_equal_timm():
    torch.manual_seed(0)
    ours, theirs = builders.pe_spatial_t16_512(), timm.create_model("vit_pe_spatial_tiny_patch16_512")
    theirs.load_state_dict(to_timm(ours.state_dict()))
    images = torch.randn(1, 3, 512, 512)
    weight = torch.randn(1, 192, 32, 32)
    (ours.forward_intermediates(images, [-1])[0] * weight).mean().backward()
    (theirs.forward_intermediates(images, indices=[11], intermediates_only=True)[0] * weight).mean().backward()
    expected = from_timm({k: p.grad for k, p in theirs.named_parameters()})
    for name, p in ours.named_parameters():
        largest = expected[name].abs().max()
        torch.testing.assert_close(p.grad / largest, expected[name] / largest, atol=1e-4, rtol=0)


def naive_windowed(encoder, images):
    """The same tower with partition and unpartition in every block, one window and one attention at a time."""
    x = encoder.conv1(images).permute(0, 2, 3, 1)
    _, height, width, dim = x.shape
    x = encoder.ln_pre(x + encoder._positions(height, width))
    side = encoder.window_size
    from pe_dense.layers.rope import rope_table

    head = dim // encoder.num_heads
    for block in encoder.blocks:
        y = block.ln_1(x)
        out = torch.zeros_like(y)
        pieces = (
            [(r, c, side) for r in range(0, height, side) for c in range(0, width, side)]
            if block.window
            else [(0, 0, max(height, width))]
        )
        for r, c, s in pieces:
            piece = y[:, r : r + s, c : c + s]
            h, w = piece.shape[1:3]
            table = rope_table(side, side, head) if block.window else rope_table(h, w, head)
            if block.window:
                table = table.view(side, side, -1)[:h, :w].reshape(h * w, -1, 2)
                if block.zero_padding:
                    full = torch.zeros(len(y), side, side, dim)
                    full[:, :h, :w] = piece
                    mixed = block.attn(full.flatten(1, 2), rope_table(side, side, head))
                    out[:, r : r + s, c : c + s] = mixed.view(-1, side, side, dim)[:, :h, :w]
                    continue
            out[:, r : r + s, c : c + s] = block.attn(piece.flatten(1, 2), table).view(-1, h, w, dim)
        x = x + block.ls_1(out)
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return x.permute(0, 3, 1, 2)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 20), (12, 28)])
def test_windows_equal_naive_partition(mask_padding, height, width):
    encoder = tiny(window_size=4, global_blocks=(1, 3), mask_padding=mask_padding, layer_scale=0.5)
    images = torch.randn(2, 3, height, width)
    with torch.no_grad():
        got = encoder.forward_intermediates(images, [-1])[0]
        torch.testing.assert_close(got, naive_windowed(encoder, images), atol=2e-5, rtol=0)


def test_padding_switch_changes_only_padded_grids():
    exact, padded = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 20, 16)
    masked, unmasked = tiny(window_size=4), tiny(window_size=4, mask_padding=False)
    with torch.no_grad():
        torch.testing.assert_close(masked(exact), unmasked(exact))
        assert (masked(padded) - unmasked(padded)).abs().max() > 1e-3


def test_intermediates_order_early_stop_and_negative_indices():
    encoder, images = tiny(), torch.randn(1, 3, 16, 24)
    ran = []
    for i, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    with torch.no_grad():
        a, b = encoder.forward_intermediates(images, [2, 0])
        assert ran == [0, 1, 2]
        c, d = encoder.forward_intermediates(images, [-2, -4], stop_early=False)
        assert ran == [0, 1, 2, 0, 1, 2, 3]
    assert a.shape == (1, 32, 4, 6)
    assert torch.equal(a, c)
    assert torch.equal(b, d)


def test_final_norm_applies_to_any_layer():
    encoder, images = tiny(use_ln_post=True), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        raw, normed = (encoder.forward_intermediates(images, [1], norm=n)[0] for n in (False, True))
        torch.testing.assert_close(encoder.ln_post(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), normed)


@pytest.mark.parametrize("options", [{}, {"use_cls_token": True}, {"window_size": 3, "global_blocks": (1,)}])
def test_compiles_without_graph_breaks(options):
    encoder, images = tiny(**options), torch.randn(1, 3, 16, 20)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), encoder(images), atol=5e-5, rtol=0)


@pytest.mark.parametrize("every", [1, 2])
def test_activation_checkpointing_keeps_gradients(every):
    plain = tiny(window_size=4, global_blocks=(1,)).train()
    saving = copy.deepcopy(plain)
    saving.checkpoint_every = every
    images = torch.randn(1, 3, 16, 16)
    for encoder in (plain, saving):
        encoder.forward_intermediates(images, [-1])[0].square().mean().backward()
    for a, b in zip(plain.parameters(), saving.parameters()):
        assert torch.equal(a.grad, b.grad)


def test_every_parameter_is_initialised():
    sizes = {"use_cls_token": True, "use_ln_post": True, "pool": True, "output_dim": 8, "layer_scale": 0.1}
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    try:
        encoder = PerceptionEncoder(32, 2, 2, 48, **sizes)
    finally:
        torch.use_deterministic_algorithms(False)
    for name, p in encoder.named_parameters():
        assert p.isfinite().all(), name
        assert p.abs().max() < 2, name


def test_drop_path_grows_linearly_and_stops_when_frozen():
    encoder = tiny(drop_path_rate=0.3)
    assert [round(b.drop_path.rate, 6) for b in encoder.blocks] == [0.0, 0.1, 0.2, 0.3]
    encoder.freeze(trainable_blocks=1)
    assert [round(b.drop_path.rate, 6) for b in encoder.blocks] == [0.0, 0.0, 0.0, 0.3]
    trained = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained
    assert all(n.startswith("transformer.resblocks.3.") for n in trained)
    with pytest.raises(ValueError, match=r"trainable_blocks 5 must lie in 0\.\.4"):
        encoder.freeze(5)


def test_cached_tables_survive_inference_mode_and_are_not_saved():
    encoder, images = tiny(), torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        encoder(images)
    encoder.train()
    encoder(images).mean().backward()
    assert not [k for k in encoder.state_dict() if "rope" in k]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 5}, "embed_dim 32 is not divisible by num_heads 5"),
        ({"window_size": 4, "use_cls_token": True}, "use_cls_token=False"),
        ({"global_blocks": (7,)}, r"global_blocks \[7\] must lie in 0..3"),
    ],
)
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**change)


def test_bad_image_size_and_block():
    encoder = tiny()
    with pytest.raises(
        ValueError, match=re.escape("image of 18 x 16 pixels: both sides must be multiples of the patch size 4")
    ):
        encoder(torch.randn(1, 3, 18, 16))
    with pytest.raises(ValueError, match=r"block 4 asked for, but the encoder has blocks 0\.\.3"):
        encoder.forward_intermediates(torch.randn(1, 3, 16, 16), [4])


def test_layer_ids_give_the_released_decay_rates(fixtures):
    data = np.load(fixtures / "pe" / "vitdet_b1_tile_ls.npz")
    encoder = tiny(layer_scale=0.1)
    for name, rate in zip(data["lr_decay_names"], data["lr_decay_rates"]):
        relative = name.removeprefix("net.")
        layer = encoder.layer_id(relative) if name.startswith("net.") else encoder.depth + 1
        assert 0.9 ** (encoder.depth + 1 - layer) == pytest.approx(rate, rel=1e-12), name
