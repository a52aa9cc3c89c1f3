"""Copies of a model on several layers of one encoder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pe_dense.modeling.backbone import EncoderFeatures, FeatureCache, FeaturePyramid, LayerProbe, PerceptionEncoder
from pe_dense.modeling.depth import build_linear_depth
from pe_dense.modeling.detection import build_mask_rcnn
from pe_dense.modeling.segmentation import SegInference, build_linear_segmenter
from pe_dense.structures import Instances

WINDOWS = SegInference(crop=24, stride=16, flip=True, scales=(1, 2))


def encoder(**options: Any) -> PerceptionEncoder:
    torch.manual_seed(0)
    return PerceptionEncoder(32, 4, 2, 64, patch_size=8, grid_size=4, **options)


def depth_model(tower: PerceptionEncoder, layer: int = -1, **options: Any) -> Any:
    torch.manual_seed(1)
    neck = EncoderFeatures(tower, [layer], trainable_blocks=0)
    return build_linear_depth(neck, bins=16, use_cls=tower.use_cls_token, **options)


def detector(tower: PerceptionEncoder, layer: int = -1) -> Any:
    torch.manual_seed(1)
    neck = FeaturePyramid(tower, 16, "last", [layer], ["p3", "p4", "p5"], trainable_blocks=0)
    sizes = {"conv_dim": 8, "fc_dim": 16, "anchor_sizes": [8, 16, 32], "roi_batch_size_per_image": 8}
    return build_mask_rcnn(neck, 3, with_masks=False, square_size=None, **sizes)


def segmenter(tower: PerceptionEncoder, layer: int = -1, **options: Any) -> Any:
    torch.manual_seed(1)
    return build_linear_segmenter(EncoderFeatures(tower, [layer], trainable_blocks=0), 5, dropout=0.3, **options)


def batch(count: int = 3, size: tuple[int, int] = (32, 40)) -> list[dict[str, Any]]:
    make = torch.Generator().manual_seed(2)
    found = []
    for i in range(count):
        box = torch.tensor([[3.0, 4.0, 19.0, 24.0]])
        found.append({
            "image": torch.randint(0, 256, (3, *size), generator=make, dtype=torch.uint8),
            "depth": torch.rand(size, generator=make) * 8 + 0.5,
            "sem_seg": torch.randint(0, 5, size, generator=make),
            "instances": Instances(size, box, torch.tensor([i % 3])),
            "image_id": i,
        })  # fmt: skip
    return found


def trained(probe: LayerProbe, steps: int = 3) -> dict[str, Any]:
    """Losses of the steps, then the weights of each copy."""
    torch.manual_seed(5)
    optimizer = torch.optim.AdamW([p for p in probe.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    probe.train()
    for _ in range(steps):
        terms = probe(batch())
        losses.append({name: value.item() for name, value in terms.items()})
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"losses": losses, "weights": {k: copy.deepcopy(m.state_dict()) for k, m in probe.probes.items()}}


@pytest.mark.parametrize("build", [depth_model, segmenter, detector])
@pytest.mark.parametrize("options", [{}, {"use_cls_token": True}])
def test_together_equals_alone(build: Any, options: dict[str, Any]) -> None:
    """Exactly: also where the head draws random numbers (dropout, sampled regions)."""
    together = trained(LayerProbe(build(encoder(**options)), [-1, 1]))
    for layer in (1, 3):
        alone = trained(LayerProbe(build(encoder(**options)), [layer]))
        key = f"loss_layer_{layer}"
        assert [step[key] for step in alone["losses"]] == [step[key] for step in together["losses"]]
        for name, value in alone["weights"][str(layer)].items():
            assert torch.equal(value, together["weights"][str(layer)][name]), name


@pytest.mark.parametrize(
    "build",
    [
        lambda tower, layer: depth_model(tower, layer, flip_test=True),
        lambda tower, layer: segmenter(tower, layer, inference=WINDOWS),
    ],
)
def test_predictions_are_those_of_the_model_alone(build: Any) -> None:
    """With windows, scales and mirroring; the encoder sees each picture once."""
    tower = encoder()
    probe = LayerProbe(build(encoder(), -1), [0, 2]).eval()
    seen: list[int] = []
    probe.backbone.backbone.conv1.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    with torch.no_grad():
        found = probe(batch(2))
        passes, views = len(seen), sum(seen)
        assert probe._shared._seen == []
        for layer in (0, 2):
            alone = build(encoder(), layer).eval()
            count: list[int] = []
            alone.backbone.backbone.conv1.register_forward_pre_hook(lambda _, args: count.append(len(args[0])))  # noqa: B023
            for sample, expected in zip(found, alone(batch(2))):
                for key, value in expected.items():
                    assert torch.equal(sample[layer][key], value)
            assert (len(count), sum(count)) == (passes, views)
    assert tower.depth == 4


def test_the_encoder_is_frozen_and_saved_once() -> None:
    probe = LayerProbe(depth_model(encoder()))
    assert probe.layers == [0, 1, 2, 3]
    assert probe.num_classes is None
    names = [name for name in probe.state_dict() if "conv1" in name]
    assert names == ["backbone.backbone.conv1.weight"]
    assert not any(p.requires_grad for p in probe.backbone.parameters())
    first, *others = [nn.ModuleList([m]).state_dict() for m in probe.probes.values()]
    for other in others:
        assert all(torch.equal(first[name], value) for name, value in other.items())


def test_models_that_cannot_be_probed() -> None:
    with pytest.raises(ValueError, match=r"the encoder has blocks 0\.\.3 \(-1 is the last\), 4 is none of them"):
        LayerProbe(depth_model(encoder()), [0, 4])
    tower = encoder()
    four = build_linear_depth(EncoderFeatures(tower, [0, 1], trainable_blocks=0), bins=16, use_cls=False)
    with pytest.raises(ValueError, match=r"stands on layers \[0, 1\]; each copy gets a single one"):
        LayerProbe(four)


def test_cached_features_are_close_and_do_not_depend_on_the_cache(tmp_path: Path) -> None:
    exact = trained(LayerProbe(depth_model(encoder(use_cls_token=True)), [1, 3]))
    filled = trained(LayerProbe(depth_model(encoder(use_cls_token=True)), [1, 3], FeatureCache(tmp_path, 1)))
    again = LayerProbe(depth_model(encoder(use_cls_token=True)), [3], FeatureCache(tmp_path, 1))
    ran: list[int] = []
    again.backbone.backbone.conv1.register_forward_hook(lambda *_: ran.append(1))
    read = trained(again)
    assert not ran
    streamed = trained(LayerProbe(depth_model(encoder(use_cls_token=True)), [3], FeatureCache(tmp_path / "tiny", 1e-9)))
    for i in range(3):
        key = "loss_layer_3"
        assert filled["losses"][i][key] == read["losses"][i][key] == streamed["losses"][i][key]
        assert filled["losses"][i][key] == pytest.approx(exact["losses"][i][key], rel=0.02)
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 3


def test_cached_images_of_several_sizes_are_padded(tmp_path: Path) -> None:
    probe = LayerProbe(depth_model(encoder()), [3], FeatureCache(tmp_path, 1)).train()
    samples = [*batch(1, (32, 40)), *batch(1, (24, 56))]
    assert torch.isfinite(probe(samples)["loss_layer_3"])
    [layer], sizes = probe._features(samples)
    assert layer.map.shape == (2, 32, 4, 7)
    assert sizes == [(32, 40), (24, 56)]
    assert not layer.map[0, :, :, 5:].any()
    assert not layer.map[1, :, 3:].any()
