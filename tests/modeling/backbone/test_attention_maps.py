"""Attention weights against what the block makes of them."""

import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.modeling.backbone.attention_maps import attention_maps


def encoder(**options):
    torch.manual_seed(0)
    return PerceptionEncoder(32, 3, 2, 64, patch_size=8, grid_size=4, **options).eval()


def applied(tower, images, block, maps, cell):
    """The weighted sum of the values of all patches, and the block's own output before the projection."""
    found = {}
    attention = tower.blocks[block].attn
    hooks = [
        attention.register_forward_pre_hook(lambda _, args: found.update(x=args[0])),
        attention.out_proj.register_forward_pre_hook(lambda _, args: found.update(out=args[0])),
    ]
    tower.forward_intermediates(images, [block])
    for hook in hooks:
        hook.remove()
    heads = attention.num_heads
    values = F.linear(found["x"], attention.in_proj_weight[64:], attention.in_proj_bias[64:])
    to_grid = lambda x: tower._unpack(x, *maps.shape[2:], tower._geometry(*maps.shape[2:], x.device).order)[0]
    values = to_grid(values).unflatten(-1, (heads, -1))
    summed = torch.einsum("bkhw,bhwkd->bkd", maps, values).flatten(1)
    return summed, to_grid(found["out"])[:, cell[0], cell[1]]


WINDOWS = {"window_size": 3, "global_blocks": (1,)}


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, WINDOWS, {**WINDOWS, "mask_padding": False}])
@pytest.mark.parametrize("block", [0, 1, -1])
def test_weights_give_the_blocks_output(options, block):
    tower = encoder(**options)
    images = torch.randn(2, 3, 40, 56)
    maps = attention_maps(tower, images, block, (4, 2))
    assert maps.shape == (2, 2, 5, 7)
    if options.get("mask_padding", True):
        torch.testing.assert_close(maps.sum((2, 3)), torch.ones(2, 2))
        torch.testing.assert_close(*applied(tower, images, block, maps, (4, 2)), atol=1e-5, rtol=1e-4)
    if options and block != 1:
        assert not maps[:, :, :3].any()
        assert not maps[:, :, :, 3:].any()


@torch.no_grad()
def test_class_token():
    tower = encoder(use_cls_token=True)
    images = torch.randn(1, 3, 32, 32)
    from_class = attention_maps(tower, images, 2, None)
    from_patch = attention_maps(tower, images, 2, (0, 0))
    assert from_class.shape == from_patch.shape == (1, 2, 4, 4)
    assert ((from_class.sum((2, 3)) > 0) & (from_class.sum((2, 3)) < 1)).all()
    assert not torch.allclose(from_class, from_patch)
    assert not tower.blocks[2].attn._forward_pre_hooks


def test_what_the_encoder_does_not_have():
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"block 3 asked for, but the encoder has blocks 0\.\.2"):
        attention_maps(encoder(), images, 3, (0, 0))
    with pytest.raises(ValueError, match="no class token"):
        attention_maps(encoder(), images, 0, None)
    with pytest.raises(ValueError, match=r"patch \(4, 0\) lies outside the grid of 4 x 4"):
        attention_maps(encoder(), images, 0, (4, 0))
