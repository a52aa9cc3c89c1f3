"""Statistics of features against their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.modeling.backbone import layer_statistics as layer_statistics_module
from pe_dense.modeling.backbone.attention_maps import attention_maps
from pe_dense.modeling.backbone.layer_statistics import effective_rank, layer_statistics

WINDOWS = {"window_size": 3, "global_blocks": (1,)}


def encoder(**options: Any) -> PerceptionEncoder:
    torch.manual_seed(0)
    tower = PerceptionEncoder(16, 3, 2, 32, patch_size=8, grid_size=4, **options).eval()
    for block in tower.blocks:  # attention that differs from place to place
        torch.nn.init.normal_(block.attn.in_proj_weight, std=0.8)
    return tower


def pictures() -> list[torch.Tensor]:
    make = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, *size, generator=make) for size in ((40, 56), (32, 24))]


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"use_cls_token": True}])
def test_norms_outliers_and_rank(options: dict[str, Any]) -> None:
    tower = encoder(**options)
    found = layer_statistics(tower, pictures(), [0, -1])
    for block in (0, 2):
        maps = [tower.forward_intermediates(image, [block])[0][0].flatten(1).T.double().numpy() for image in pictures()]
        tokens = np.concatenate(maps)
        norms = [np.linalg.norm(m, axis=1) for m in maps]
        every = np.sort(np.concatenate(norms))
        assert found["norm/mean"][block] == pytest.approx(every.mean(), rel=1e-5)
        assert found["norm/median"][block] == pytest.approx(every[(len(every) - 1) // 2], rel=1e-5)
        assert found["norm/p99"][block] == pytest.approx(every[math.ceil(0.99 * len(every)) - 1], rel=1e-5)
        assert found["norm/max"][block] == pytest.approx(every[-1], rel=1e-5)
        singular = np.linalg.svd(tokens - tokens.mean(0), compute_uv=False)
        share = singular / singular.sum()
        rank = np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())
        assert found["rank/effective"][block] == pytest.approx(rank, rel=1e-4)
        assert found["rank/relative"][block] == pytest.approx(100 * rank / 16, rel=1e-4)
    assert list(found["norm/max"]) == [0, 2]


def test_high_norm_tokens_are_counted_in_each_image() -> None:
    tower = encoder()
    maps = torch.ones(1, 16, 4, 5)
    maps[..., 2, 3] = 4.0
    tower.forward_intermediates = lambda image, *_, **__: [maps * image.mean()]  # type: ignore[method-assign]
    found = _without_attention(tower, [torch.full((1, 3, 32, 40), v) for v in (1.0, 100.0)])
    assert found["tokens/outliers"][1] == pytest.approx(100 / 20)
    maps[..., 2, 3] = 2.9
    assert _without_attention(tower, [torch.ones(1, 3, 32, 40)])["tokens/outliers"][1] == 0


def _without_attention(tower: PerceptionEncoder, images: list[torch.Tensor]) -> dict[str, dict[int, float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_statistics_module.AttentionSums, "numbers", lambda self: {})
        return layer_statistics(tower, images, [1])


def test_effective_rank() -> None:
    assert effective_rank(torch.tensor([3.0, 0.0, 0.0])) == 1
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert effective_rank(torch.zeros(3)) == 0


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"use_cls_token": True}, WINDOWS, {**WINDOWS, "mask_padding": False}], ids=str)
def test_attention_by_brute_force(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_statistics_module, "ATTENTION_OUTLIER", 1.2)
    tower = encoder(**options)
    image = pictures()[0]
    found = layer_statistics(tower, [image], [0, 1])
    for block in (0, 1):
        rows, received = [], np.zeros((5, 7))
        for y in range(5):
            for x in range(7):
                maps = attention_maps(tower, image, block, (y, x))[0].numpy()
                for weights in maps / maps.sum((1, 2), keepdims=True):
                    received += weights / 2
                    rows.append(sum(weights[i, j] * 8 * math.hypot(i - y, j - x) for i in range(5) for j in range(7)))
        assert found["attention/distance_px"][block] == pytest.approx(np.mean(rows), rel=1e-5)
        assert 0 < found["tokens/global"][block] == pytest.approx(100 * (received > 1.2).mean())


def test_what_cannot_be_looked_at() -> None:
    with pytest.raises(ValueError, match=r"layers \[3\]: the encoder has blocks 0\.\.2"):
        layer_statistics(encoder(), pictures(), [3])
    with pytest.raises(ValueError, match="no images to look at"):
        layer_statistics(encoder(), [], [0])
