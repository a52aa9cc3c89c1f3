"""Cluttered textured backgrounds: a wall, a floor in perspective, and line clutter that belongs to no class."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from pe_dense.data.scenes.textures import fractal_noise
from pe_dense.data.scenes.world import Camera


@dataclass(frozen=True)
class Backdrop:
    """What is behind the objects.

    Attributes:
        image: H x W x 3 float32 RGB in [0, 1].
        depth: H x W float32 metres.
        floor: H x W bool, True on the floor, False on the wall.
    """

    image: np.ndarray
    depth: np.ndarray
    floor: np.ndarray


def random_backdrop(rng: np.random.Generator, camera: Camera) -> Backdrop:
    """A wall and a floor with muted colours, noise, gradients, tiles or planks, and clutter."""
    size = camera.size
    rows = np.arange(size, dtype=np.float32) + 0.5
    below = np.maximum(rows - camera.horizon, 1e-3)
    depth = np.minimum(camera.focal * camera.height / below, camera.wall).astype(np.float32)
    floor = depth < camera.wall
    wall_color, floor_color = _muted(rng), _muted(rng)
    image = np.where(floor[:, None, None], floor_color, wall_color).repeat(size, axis=1)
    image = image * (1 + _floor_pattern(rng, camera, depth) * floor[:, None])[..., None]
    image = image + fractal_noise(rng, size, int(rng.integers(3, 7)), 4)[..., None] * rng.uniform(0.05, 0.11)
    image = image + rng.normal(0, rng.uniform(0.005, 0.03), (size, size, 1)).astype(np.float32)
    image = image * _gradient(rng, size)[..., None]
    image = _clutter(rng, np.ascontiguousarray(image, dtype=np.float32))
    wide = np.ones((1, size), dtype=np.float32)
    return Backdrop(np.clip(image, 0, 1), depth[:, None] * wide, (floor[:, None] * wide).astype(bool))


def _muted(rng: np.random.Generator) -> np.ndarray:
    rgb = colorsys.hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0.05, 0.3), rng.uniform(0.3, 0.75))
    return np.array(rgb, dtype=np.float32)


def _floor_pattern(rng: np.random.Generator, camera: Camera, depth: np.ndarray) -> np.ndarray:
    """Relative brightness of tiles or planks, size x size float32, fading where they get too small to be resolved."""
    columns = np.arange(camera.size, dtype=np.float32) + 0.5 - camera.size / 2
    x = columns[None] * depth[:, None] / camera.focal + rng.uniform(0, 1)
    z = depth[:, None] + rng.uniform(0, 1)
    across, along = rng.uniform(0.5, 1.2), rng.uniform(0.5, 1.2)
    u, v = np.sin(x * (2 * np.pi * across)), np.sin(z * (2 * np.pi * along))
    kind = rng.integers(3)
    pattern = u * v if kind == 0 else (u if kind == 1 else u * 0)
    fade = np.clip(1.3 - depth / 8.0, 0, 1)[:, None]
    return (np.clip(pattern * 3, -1, 1) * fade * rng.uniform(0.06, 0.16)).astype(np.float32)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.25)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    return (1 + strength * (axis[None] * np.cos(angle) + axis[:, None] * np.sin(angle))).astype(np.float32)


def _clutter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Strokes, bent wires and open arcs of muted colours, blended in."""
    size = image.shape[0]
    layer = image.copy()
    for _ in range(int(rng.integers(4, 14))):
        color = tuple(float(c) for c in _muted(rng) * rng.uniform(0.5, 1.3))
        width = int(rng.integers(1, 1 + max(1, size // 64)))
        start = rng.uniform(0, size, 2)
        kind = rng.integers(3)
        if kind == 0:
            points = start + np.cumsum(rng.normal(0, size / 10, (int(rng.integers(2, 5)), 2)), axis=0)
        elif kind == 1:
            points = np.stack([start, start + rng.normal(0, size / 3, 2)])
        else:
            sweep = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(0.6, 2.2), 12)
            points = start + np.stack([np.cos(sweep), np.sin(sweep)], axis=1) * rng.uniform(0.05, 0.25) * size
        fixed = np.round(points * 16).astype(np.int32)
        cv2.polylines(layer, [fixed], False, color, width, cv2.LINE_AA, shift=4)
    return image + (layer - image) * np.float32(rng.uniform(0.5, 0.9))
