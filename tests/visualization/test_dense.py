"""Depth, semantic labels and features."""

import numpy as np
import pytest
import torch

from pe_dense.visualization import FeatureColors, depth_to_rgb, features_to_rgb, overlay_sem_seg


def test_depth_range_and_unknown_pixels():
    depth = torch.linspace(1, 9, 200).repeat(100, 1)
    depth[0, 0], depth[0, 1], depth[0, 2] = 0, float("nan"), float("inf")
    picture = depth_to_rgb(depth, legend=False)
    assert picture.shape == (100, 200, 3)
    assert not picture[0, :3].any()
    assert picture[50, 5, 0] > picture[50, 5, 2]  # near: more red than blue
    assert picture[50, 170, 2] > picture[50, 170, 0]
    assert depth_to_rgb(depth).shape[1] > 200
    same = [depth_to_rgb(depth * k, near=1, far=9, legend=False)[50, 100].tolist() for k in (1, 1.5)]
    assert same[0] != same[1]


def test_depth_without_any_known_value_and_wrong_input():
    assert not depth_to_rgb(np.zeros((5, 4)), legend=False).any()
    with pytest.raises(ValueError, match="H x W depth map"):
        depth_to_rgb(np.zeros((5, 4, 3)))
    with pytest.raises(ValueError, match=r"far \(1 m\) must be beyond near \(2 m\)"):
        depth_to_rgb(np.ones((5, 4)), near=2, far=1)


def test_sem_seg_overlay_leaves_ignored_pixels_grey():
    labels = torch.zeros(40, 60, dtype=torch.int64)
    labels[:, 30:] = 255
    image = np.full((40, 60, 3), (250, 100, 10), dtype=np.uint8)
    picture = overlay_sem_seg(image, labels, ["road"], legend=False, min_side=60)
    assert (picture[:, 40] == 120).all()
    assert len(set(picture[5, 5].tolist())) > 1
    assert overlay_sem_seg(image, labels, {0: "道路"}, min_side=60).shape[1] > 60
    with pytest.raises(ValueError, match="labels are"):
        overlay_sem_seg(image, labels[:10])


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
