"""Point clouds: geometry by hand, and the file read back."""

import math

import numpy as np
import pytest
import torch

from pe_dense.visualization import Intrinsics, point_cloud, save_ply


def test_geometry_by_hand():
    depth = torch.tensor([[2.0, 0.0, 4.0], [float("nan"), 3.0, -1.0]])
    image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    points, colors = point_cloud(depth, image, Intrinsics(2.0, 4.0, 1.0, 0.0))
    np.testing.assert_allclose(points, [[-1, 0, 2], [2, 0, 4], [0, 0.75, 3]])  # right, down, forward
    assert np.array_equal(colors, image[[0, 0, 1], [0, 2, 1]])
    assert len(point_cloud(depth, image, Intrinsics(1, 1, 0, 0), max_depth=3)[0]) == 2
    with pytest.raises(ValueError, match=r"the image is \(2, 3\) but the depth is \(3, 2\)"):
        point_cloud(depth.reshape(3, 2), image, Intrinsics(1, 1, 0, 0))


def test_points_project_back_to_their_pixels():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (20, 30)).astype(np.float32)
    camera = Intrinsics(518.9, 519.5, 14.2, 9.7)
    points = point_cloud(depth, np.zeros((20, 30, 3), dtype=np.uint8), camera)[0].astype(np.float64)
    columns = points[:, 0] / points[:, 2] * camera.fx + camera.cx
    rows = points[:, 1] / points[:, 2] * camera.fy + camera.cy
    np.testing.assert_allclose(columns, np.tile(np.arange(30), 20), atol=1e-3)
    np.testing.assert_allclose(rows, np.repeat(np.arange(20), 30), atol=1e-3)


def test_field_of_view():
    camera = Intrinsics.from_field_of_view(480, 640, 90)
    assert camera == pytest.approx((320, 320, 319.5, 239.5))
    edge = (-0.5 - camera.cx) / camera.fx  # the left side of the leftmost pixel
    assert math.degrees(math.atan(-edge)) == pytest.approx(45)
    with pytest.raises(ValueError, match="between 0 and 180 degrees, it is 180"):
        Intrinsics.from_field_of_view(4, 4, 180)


def test_file(tmp_path):
    points = np.array([[1.5, -2, 3], [0, 0, 1]], dtype=np.float32)
    colors = np.array([[1, 2, 3], [255, 0, 9]], dtype=np.uint8)
    path = tmp_path / "new" / "cloud.ply"
    save_ply(path, points, colors)
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "x right, y down, z forward" in lines[2]
    assert "element vertex 2" in lines
    rows = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert np.array_equal(rows["xyz"], points)
    assert np.array_equal(rows["rgb"], colors)
    with pytest.raises(ValueError, match=r"points are \(2, 3\) and colours \(1, 3\)"):
        save_ply(path, points, colors[:1])


def test_floor_of_a_real_room_lies_below_the_camera(real_data):
    """Redwood's frames show a floor: its points are under the optical axis and nearly in one plane."""
    import cv2

    folder = real_data / "rgbd_registered"
    depth = cv2.imread(str(folder / "redwood_1_depth.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
    image = cv2.imread(str(folder / "redwood_1_rgb.jpg"))
    points, _ = point_cloud(depth[440:470], image[440:470], Intrinsics(525, 525, 319.5, 239.5 - 440))
    assert (points[:, 1] > 0.3).all()
    centred = points - points.mean(axis=0)
    assert np.linalg.svd(centred, full_matrices=False)[1][2] / np.sqrt(len(points)) < 0.02
