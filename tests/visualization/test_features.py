"""Colours, clusters and heat maps of features."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pe_dense.visualization import FeatureClusters, FeatureColors, features_to_rgb
from pe_dense.visualization.features import blended, cosine_map, overlay_heat


def test_features_show_the_directions_of_most_variance():
    rng = torch.Generator().manual_seed(0)
    parts = torch.zeros(16, 20, 20)
    parts[0, :10], parts[1, :, :10], parts[2, 5:15, 5:15] = 9.0, 6.0, 4.0
    features = parts + 0.01 * torch.randn(16, 20, 20, generator=rng)
    picture = features_to_rgb(features).astype(int)
    assert abs(picture[2, 2, 0] - picture[18, 2, 0]) > 200  # red: top against bottom
    assert np.array_equal(picture, features_to_rgb(features * 7 + 3))  # neither scale nor offset matter
    assert features_to_rgb(features, size=(60, 40)).shape == (60, 40, 3)


def test_feature_colours_agree_between_images_and_ignore_the_background():
    rng = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 8, 12, 12, generator=rng)
    colors = FeatureColors.fit([first, second])
    assert np.array_equal(colors(torch.cat([first, second], dim=2))[:, :12], colors(first))
    front = np.zeros((12, 12), dtype=bool)
    front[3:9, 3:9] = True
    changed = first.clone()
    changed[:, ~torch.from_numpy(front)] = 1000.0
    assert np.array_equal(features_to_rgb(first, front), features_to_rgb(changed, front))
    assert not features_to_rgb(first, front)[~front].any()


def test_few_channels_and_bad_features():
    assert features_to_rgb(torch.rand(2, 5, 5)).shape == (5, 5, 3)
    with pytest.raises(ValueError, match="C x H x W"):
        features_to_rgb(torch.rand(5, 5))
    with pytest.raises(ValueError, match="not finite"):
        features_to_rgb(torch.full((3, 4, 4), float("nan")))


def test_lightness_chroma_hue():
    ramp = torch.linspace(-1, 1, 50)
    features = torch.stack([4 * ramp.expand(50, 50), 2 * ramp[:, None].expand(50, 50)])
    picture = features_to_rgb(features, space="lch").astype(int)
    light = picture[25].sum(axis=-1)
    assert (np.diff(light) >= -3).all()
    assert abs(light[-1] - light[0]) > 250
    assert (picture.max(axis=-1) - picture.min(axis=-1) > 10).mean() > 0.8  # colours, no greys
    assert not np.array_equal(picture, features_to_rgb(features))


def test_signs_do_not_depend_on_the_order_of_the_images():
    first, second = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(1))
    one, other = FeatureColors.fit([first, second], space="lch"), FeatureColors.fit([second, first], space="lch")
    assert (one(first).astype(int) - other(first)).max() <= 1


def test_blend_keeps_what_is_even_and_smooths_the_rest():
    even = torch.ones(3, 6, 7)
    torch.testing.assert_close(blended(even), even)
    spike = torch.zeros(1, 7, 7)
    spike[0, 3, 3] = 1
    out = blended(spike)
    torch.testing.assert_close(out.sum(), torch.tensor(1.0))
    tap = torch.exp(torch.tensor(-0.5))
    torch.testing.assert_close(out[0, 3, 3], 0.5 + 0.5 / (1 + 2 * tap) ** 2)
    torch.testing.assert_close(out[0, 3, 4], 0.5 * tap / (1 + 2 * tap) ** 2)


def test_cosine_map():
    features = torch.randn(5, 4, 6)
    found = cosine_map(features, 3 * features[:, 2, 3])
    torch.testing.assert_close(found[2, 3], torch.tensor(1.0))
    expected = F.normalize(features[:, 0, 0], dim=0) @ F.normalize(features[:, 2, 3], dim=0)
    torch.testing.assert_close(found[0, 0], expected)
    assert not cosine_map(torch.zeros(5, 2, 2), features[:, 0, 0]).any()


def test_clusters_are_the_directions_largest_first_and_always_the_same():
    rng = torch.Generator().manual_seed(0)
    features = torch.zeros(4, 9, 9)
    features[0, :6], features[1, 6:, :5], features[2, 6:, 5:] = 1, 1, 1
    features = (features + 0.02 * torch.randn(4, 9, 9, generator=rng)) * (1 + 9 * torch.rand(9, 9, generator=rng))
    clusters = FeatureClusters([features], 3)
    labels = clusters(features)
    assert (labels[:6] == 0).all()
    assert (labels[6:, :5] == 1).all()
    assert (labels[6:, 5:] == 2).all()
    assert torch.equal(FeatureClusters([features], 3).centres, clusters.centres)
    assert len(FeatureClusters([features[:, :1, :2]], 5).centres) == 2
    assert len(FeatureClusters([features], 3, most=10).centres) == 3
    with pytest.raises(ValueError, match="must be at least 1, it is 0"):
        FeatureClusters([features], 0)
    with pytest.raises(ValueError, match="not finite"):
        FeatureClusters([features * float("nan")], 2)


def test_heat_is_enlarged_and_marked():
    values = torch.zeros(4, 6)
    values[:, 3:] = 1
    image = np.full((40, 60, 3), 100, dtype=np.uint8)
    picture = overlay_heat(image, values, 0, 1).astype(int)
    assert picture.shape == (40, 60, 3)
    assert picture[20, 5, 2] > picture[20, 5, 0]
    assert picture[20, 55, 0] > picture[20, 55, 2]
    marked = overlay_heat(image, values, 0, 1, mark=(10, 20))
    changed = np.argwhere((marked != picture).any(axis=-1))
    assert abs(changed.mean(axis=0) - (20, 10)).max() < 1
