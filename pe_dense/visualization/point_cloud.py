"""Depth maps as coloured point clouds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from pe_dense.visualization.canvas import as_rgb


class Intrinsics(NamedTuple):
    """A pinhole camera, in pixels; the centre of the top left pixel is (0, 0), as calibration tools have it.

    Attributes:
        fx, fy: focal lengths.
        cx, cy: principal point.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def from_focal_length(cls, height: int, width: int, focal: float) -> Intrinsics:
        """Square pixels and the principal point in the middle of an image of this size."""
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)

    @classmethod
    def from_field_of_view(cls, height: int, width: int, degrees: float) -> Intrinsics:
        """Square pixels and the principal point in the middle.

        Args:
            height, width: of the image.
            degrees: horizontal field of view.

        Raises:
            ValueError: if the angle is not between 0 and 180 degrees.
        """
        if not 0 < degrees < 180:
            raise ValueError(f"the field of view must be between 0 and 180 degrees, it is {degrees:g}")
        return cls.from_focal_length(height, width, width / (2 * math.tan(math.radians(degrees) / 2)))


def point_cloud(
    depth: np.ndarray | Tensor, image: np.ndarray | Tensor, intrinsics: Intrinsics, max_depth: float = math.inf
) -> tuple[np.ndarray, np.ndarray]:
    """One point per pixel with known depth, in the camera's frame: x right, y down, z forward.

    Args:
        depth: H x W metres along z; 0, negative and not finite values are unknown.
        image: the picture, of the same size (see :func:`as_rgb`).
        intrinsics: of the camera.
        max_depth: metres; points beyond are left out.

    Returns:
        N x 3 float32 metres and N x 3 uint8 RGB, row by row.

    Raises:
        ValueError: if image and depth differ in size.
    """
    colors = as_rgb(image)
    z = np.asarray(depth.detach().float().cpu() if isinstance(depth, Tensor) else depth, dtype=np.float32)
    if z.shape != colors.shape[:2]:
        raise ValueError(f"point_cloud: the image is {colors.shape[:2]} but the depth is {z.shape}")
    rows, columns = np.nonzero(np.isfinite(z) & (z > 0) & (z <= max_depth))
    forward = z[rows, columns].astype(np.float64)
    right = (columns - intrinsics.cx) / intrinsics.fx * forward
    down = (rows - intrinsics.cy) / intrinsics.fy * forward
    return np.stack([right, down, forward], axis=1).astype(np.float32), colors[rows, columns]


def save_ply(path: str | Path, points: np.ndarray, colors: np.ndarray) -> None:
    """Write a point cloud as a binary PLY file, which MeshLab, CloudCompare, Blender and Open3D read.

    Args:
        path: the folder is made if need be.
        points: N x 3 metres; x right, y down, z forward, as a comment in the file says.
        colors: N x 3 uint8 RGB.

    Raises:
        ValueError: if the numbers of points and colours differ.
        OSError: if the file cannot be written.
    """
    if points.shape != colors.shape or points.shape[1:] != (3,):
        raise ValueError(f"save_ply: points are {points.shape} and colours {colors.shape}; both must be N x 3")
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment metres in the camera's frame: x right, y down, z forward\n"
        f"element vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    )
    rows = np.empty(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    rows["xyz"], rows["rgb"] = points, colors
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode("ascii") + rows.tobytes())
