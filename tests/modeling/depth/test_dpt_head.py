"""The DPT head equals the recipe's order of steps, which costs more."""

import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.backbone import LayerFeatures
from pe_dense.modeling.depth import DepthBins, DepthRegression, DPTHead

CHANNELS = 16


def layers(count: int, rows: int = 4, columns: int = 6, cls: bool = True) -> list[LayerFeatures]:
    rng = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, CHANNELS, rows, columns, generator=rng) for _ in range(count)]
    return [LayerFeatures(m, torch.randn(2, CHANNELS, generator=rng) if cls else None) for m in maps]


def head(readout: str = "project", decoder=None) -> DPTHead:
    torch.manual_seed(0)
    return DPTHead(CHANNELS, decoder or DepthRegression(), channels=8, widths=[4, 6, 8, 10], readout=readout)


def by_the_recipe(dpt: DPTHead, features: list[LayerFeatures]) -> torch.Tensor:
    """As DINOv2 writes it: token joined to every patch, upsampling before the 1 x 1 convolutions."""
    maps = []
    for stage, (grid, cls) in zip(dpt.stages, features):
        tokens = grid.flatten(2).transpose(1, 2)
        joined = torch.cat([tokens, cls[:, None].expand_as(tokens)], -1)
        x = F.gelu(stage.readout(joined)).transpose(1, 2).view_as(grid)
        x = F.conv2d(x, stage.width.weight[:, :, None, None], stage.width.bias)
        maps.append(stage.out(stage.resize(x)))

    def unit(block, x):
        return x + block.conv2(block.conv1(x.relu()).relu())

    def up(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    x = None
    for fusion, grid in zip(reversed(dpt.fusions), reversed(maps)):
        x = grid if x is None else x + unit(fusion.lateral, grid)
        x = fusion.project(up(unit(fusion.unit, x)))
    x = up(dpt.narrow(dpt.project(x).relu()))
    return dpt.decoder(dpt.predictor(dpt.refine(x).relu()))


def test_as_if_nothing_were_reordered() -> None:
    dpt, features = head(decoder=DepthBins(bins=8)), layers(4)
    torch.nn.init.normal_(dpt.predictor.weight)
    depth = dpt(features)
    assert depth.shape == (2, 1, 64, 96)
    assert depth.std() > 0.01
    torch.testing.assert_close(depth, by_the_recipe(dpt, features), rtol=1e-5, atol=1e-5)


def test_one_layer_is_used_four_times() -> None:
    dpt, [layer] = head(), layers(1)
    assert torch.equal(dpt([layer]), dpt([layer] * 4))


def test_grid_with_odd_sides() -> None:
    assert head()(layers(4, rows=5, columns=3)).shape == (2, 1, 80, 48)


def test_every_parameter_trains() -> None:
    dpt = head()
    dpt(layers(4)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in dpt.parameters())


def test_class_token() -> None:
    assert head("ignore")(layers(4, cls=False)).shape == (2, 1, 64, 96)
    assert not any("readout" in name for name, _ in head("ignore").named_parameters())
    with pytest.raises(ValueError, match='this encoder has none: set readout="ignore"'):
        head()(layers(4, cls=False))


def test_it_grows_with_the_encoder() -> None:
    dpt = DPTHead(768, DepthRegression())
    assert (dpt.project.out_channels, [s.width.out_features for s in dpt.stages]) == (64, [96, 192, 384, 768])
    assert DPTHead(192, DepthRegression()).project.out_channels == 32


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="widths has 3 entries"):
        DPTHead(CHANNELS, DepthRegression(), widths=[1, 2, 3])
    with pytest.raises(ValueError, match='readout "add" is unknown'):
        DPTHead(CHANNELS, DepthRegression(), readout="add")
    with pytest.raises(ValueError, match="one layer or four, the backbone gives 2"):
        head()(layers(2))
