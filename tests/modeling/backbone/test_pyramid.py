import numpy as np
import pytest
import torch

from pe_dense.modeling.backbone.pyramid import FeaturePyramid
from pe_dense.modeling.backbone.vit import PerceptionEncoder


def encoder(**changes):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 4, "num_heads": 2, "mlp_dim": 48, "patch_size": 16, "grid_size": 4}
    return PerceptionEncoder(**{**sizes, **changes})


def test_released_pyramid_parity(fixtures):
    stored = torch.load(fixtures / "pe" / "vitdet_b1_tile_ls.pt", weights_only=True)["state_dict"]
    data = np.load(fixtures / "pe" / "vitdet_b1_tile_ls.npz")
    backbone = PerceptionEncoder(
        96, 4, 3, 384, grid_size=8, layer_scale=0.1, window_size=8, global_blocks=(1, 3), abs_pos="tile",
        rope="rescaled",
    )  # fmt: skip
    pyramid = FeaturePyramid(backbone, 32).eval()
    state = {k.replace("simfp_", "p").replace("net.", "backbone."): v for k, v in stored.items() if "freqs" not in k}
    state["backbone.positional_embedding"] = state["backbone.positional_embedding"][0]
    pyramid.load_state_dict(state)
    with torch.no_grad():
        levels = pyramid(torch.from_numpy(data["input"]))
    assert list(levels) == ["p2", "p3", "p4", "p5", "p6"]
    for name, x in levels.items():
        torch.testing.assert_close(x, torch.from_numpy(data[name]), atol=2e-5, rtol=0)


def test_parameter_count_of_the_fact_sheet():
    with torch.device("meta"):
        pyramid = FeaturePyramid(encoder(embed_dim=1536, num_heads=16))
    count = sum(p.numel() for n, p in pyramid.named_parameters() if not n.startswith("backbone."))
    assert count == 14_065_024


@pytest.mark.parametrize("mode", ["last", "per_level", "weighted"])
def test_sizes_and_gradients_of_every_mode(mode):
    pyramid = FeaturePyramid(encoder(), 8, mode=mode)
    levels = pyramid(torch.randn(2, 3, 64, 96))
    for name, stride in {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}.items():
        assert pyramid.strides[name] == stride
        assert levels[name].shape == (2, 8, -(-64 // stride), -(-96 // stride))
    sum(x.square().mean() for x in levels.values()).backward()
    assert not [n for n, p in pyramid.named_parameters() if p.grad is None]


def test_per_level_reads_its_own_layer():
    pyramid = FeaturePyramid(encoder(), 8, mode="per_level", layers=[0, 1, 2, 3]).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = pyramid(images)
        pyramid.backbone.blocks[3].mlp.c_proj.bias.add_(torch.randn(32))
        after = pyramid(images)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"p5", "p6"}


def test_weighted_mix_starts_as_the_mean_of_normalised_maps():
    pyramid = FeaturePyramid(encoder(), 8, mode="weighted", layers=[1, 3], levels=["p4"]).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = pyramid.backbone.forward_intermediates(images, [1, 3])
        normed = [(m - m.mean(1, keepdim=True)) / (m.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt() for m in maps]
        torch.testing.assert_close(pyramid(images)["p4"], pyramid.p4(sum(normed) / 2))


@pytest.mark.parametrize("trainable", [0, 1, None])
def test_freezing(trainable):
    pyramid = FeaturePyramid(encoder(), 8, trainable_blocks=trainable)
    sum(x.mean() for x in pyramid(torch.randn(1, 3, 64, 64)).values()).backward()
    got = {n for n, p in pyramid.backbone.named_parameters() if p.grad is not None}
    everything = {n for n, _ in pyramid.backbone.named_parameters()}
    last = {n for n in everything if n.startswith("transformer.resblocks.3.")}
    assert got == {0: set(), 1: last, None: everything}[trainable]


def test_smaller_patch_and_fewer_levels():
    pyramid = FeaturePyramid(encoder(patch_size=8), 8, levels=["p3", "p4", "p5", "p6"])
    assert pyramid.strides == {"p3": 4, "p4": 8, "p5": 16, "p6": 32}
    assert pyramid.size_divisibility == 16
    assert [tuple(x.shape[-2:]) for x in pyramid(torch.randn(1, 3, 48, 32)).values()] == [
        (12, 8),
        (6, 4),
        (3, 2),
        (2, 1),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ["p1", "p4"]}, r"levels \['p1', 'p4'\]: choose some of"),
        ({"levels": ["p4", "p6"]}, "p6 is pooled from p5"),
        ({"layers": [1, 2]}, "layers has 2 entries, mode 'last' takes 1"),
        ({"mode": "per_level", "layers": [3]}, "mode 'per_level' takes 4"),
        ({"mode": "weighted", "layers": []}, "takes at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        FeaturePyramid(encoder(), 8, **options)


@pytest.mark.parametrize("norm", [False, True])
def test_parts_that_are_not_run_do_not_train(norm):
    core = {"use_ln_post": True, "pool": True, "output_dim": 8}
    pyramid = FeaturePyramid(encoder(**core), 8, layers=[1], norm=norm)
    sum(x.square().mean() for x in pyramid(torch.randn(1, 3, 64, 64)).values()).backward()
    trainable = {n for n, p in pyramid.named_parameters() if p.requires_grad}
    assert trainable == {n for n, p in pyramid.named_parameters() if p.grad is not None}
    assert any("ln_post" in n for n in trainable) == norm
    assert not [n for n in trainable if "resblocks.2" in n]


def test_norm_needs_a_tower_that_has_one():
    with pytest.raises(ValueError, match="norm=True, but this encoder has no final norm"):
        FeaturePyramid(encoder(), 8, norm=True)


@pytest.mark.parametrize(
    ("options", "text", "level"),
    [
        ({"mode": "last"}, "pyramid (last) from block 3 of 0..3", "INFO"),
        ({"mode": "weighted"}, "pyramid (weighted) from block 0, 1, 2, 3 of 0..3", "INFO"),
        ({"mode": "weighted", "layers": [-1, 1]}, "pyramid (weighted) from block 3, 1 of 0..3", "INFO"),
        (
            {"mode": "per_level", "depth": 2},
            "pyramid (per_level) from block 0, 0, 1, 1 of 0..1; some are taken more than once, `layers` chooses others",
            "WARNING",
        ),
    ],
)
def test_log_says_which_layers(options, text, level, caplog):
    options = dict(options)
    depth = options.pop("depth", 4)
    with caplog.at_level("INFO"):
        FeaturePyramid(encoder(depth=depth), 8, **options)
        with torch.device("meta"):
            FeaturePyramid(encoder(depth=depth), 8, **options)
    assert [(r.getMessage(), r.levelname) for r in caplog.records] == [(text, level)]
