"""Depth and semantic labels."""

import numpy as np
import pytest
import torch

from pe_dense.visualization import depth_to_rgb, overlay_sem_seg


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
