"""A linear classifier on one layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pe_dense.modeling.backbone import EncoderFeatures, LayerFeatures, PerceptionEncoder
from pe_dense.modeling.classification import ImageClassifier, build_linear_classifier, pooled


def model(**options: Any) -> ImageClassifier:
    torch.manual_seed(0)
    tower = PerceptionEncoder(16, 2, 2, 32, patch_size=8, grid_size=4, use_cls_token=options.pop("cls", True))
    return build_linear_classifier(EncoderFeatures(tower, [1], trainable_blocks=0), 3, **options)


def batch(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    make = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randint(0, 256, (3, *size), generator=make, dtype=torch.uint8),
            "label": i % 3,
            "file_name": f"{i}",
        }
        for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("pooling", ["cls", "mean", "cls_mean"])
def test_loss_and_predictions(pooling: Any) -> None:
    net = model(pooling=pooling, norm=False)
    samples = batch((32, 32), (32, 32))
    with torch.no_grad():
        [layer] = net.backbone(net.preprocess(samples).tensor)
        vectors = {"cls": layer.cls, "mean": layer.map.mean((2, 3))}
        expected = net.head(torch.cat([vectors[part] for part in pooling.split("_")], 1))
        found = net.eval()(samples)
    torch.testing.assert_close(torch.stack([f["classes"] for f in found]), expected.softmax(1))
    loss = net.train()(samples)["loss_classification"]
    torch.testing.assert_close(loss, F.cross_entropy(expected, torch.tensor([0, 1])))
    loss.backward()
    assert net.head.weight.grad.abs().sum() > 0


def test_padding_is_not_averaged() -> None:
    net = model(pooling="mean", norm=False, cls=False).eval()
    layer = LayerFeatures(torch.ones(2, 16, 4, 4), None)
    layer.map[1, :, 2:] = 100.0
    found = net.from_features([layer], [(32, 32), (15, 32)], batch((32, 32), (15, 32)))
    torch.testing.assert_close(found[0]["classes"], found[1]["classes"])


def test_normalised_features_do_not_depend_on_their_scale() -> None:
    net = model(pooling="mean", cls=False).train()
    layer = LayerFeatures(torch.randn(4, 16, 2, 2), None)
    samples = batch(*[(16, 16)] * 4)
    losses = [
        net.from_features([LayerFeatures(layer.map * s, None)], [(16, 16)] * 4, samples)["loss_classification"]
        for s in (1, 1000)
    ]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match='pooling is "cls" but this encoder has no class token'):
        model(cls=False).eval()(batch((32, 32)))
    with pytest.raises(ValueError, match='pooling "max" is unknown'):
        pooled(LayerFeatures(torch.ones(1, 2, 1, 1), None), "max")  # type: ignore[arg-type]
    net = model().train()
    samples = batch((32, 32), (32, 32))
    with pytest.raises(ValueError, match="1: its class index is 7 but the model has num_classes=3"):
        net([samples[0], {**samples[1], "label": 7}])
    del samples[0]["label"]
    with pytest.raises(ValueError, match="0: training needs 'label'"):
        net(samples)
    with pytest.raises(ValueError, match="takes one layer, not 2"):
        build_linear_classifier(EncoderFeatures(net.backbone.backbone, [0, 1]), 3)
