"""The geometry of a scene: a pinhole camera above a floor in front of a wall, and upright flat objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pe_dense.data.scenes.shapes import CLASSES, Contours, transform
from pe_dense.data.scenes.textures import Texture

NEAREST = 2.2
FARTHEST = 9.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks horizontally.

    Attributes:
        size: height and width of the image in pixels.
        focal: focal length in pixels.
        height: metres above the floor.
        horizon: image row of the horizon (the principal point's row).
        wall: distance of the wall behind everything, metres.
    """

    size: int
    focal: float
    height: float
    horizon: float
    wall: float

    @classmethod
    def random(cls, rng: np.random.Generator, size: int) -> Camera:
        """A slightly different camera for each scene."""
        return cls(
            size=size,
            focal=1.1 * size,
            height=rng.uniform(1.3, 1.6),
            horizon=rng.uniform(0.2, 0.34) * size,
            wall=rng.uniform(10.0, 13.0),
        )

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Image column and row of a point ``x`` metres right, ``y`` above the floor and ``z`` away."""
        return self.size / 2 + self.focal * x / z, self.horizon + self.focal * (self.height - y) / z

    def x_at(self, column: float, z: float) -> float:
        """Metres right of the camera of the point at distance ``z`` seen in image column ``column``."""
        return (column - self.size / 2) * z / self.focal


@dataclass(frozen=True)
class Thing:
    """One object.

    Attributes:
        label: contiguous class index.
        contours: outline in unit coordinates, upright.
        texture: what it is painted with.
        diameter: metres.
        x, z: position on the floor, metres right of and away from the camera.
        lift: height of its lowest point above the floor, metres.
        rotation: radians, counter-clockwise in the image.
        squeeze: horizontal foreshortening, 1 = seen face on.
        group: identity; members of a crowd share it.
        crowd: whether it is a member of a crowd.
    """

    label: int
    contours: Contours
    texture: Texture
    diameter: float
    x: float
    z: float
    lift: float
    rotation: float
    squeeze: float
    group: int
    crowd: bool = False

    def outline(self, camera: Camera) -> tuple[Contours, tuple[float, float], float]:
        """Contours in pixels (x right, y down), the centre in pixels, and the radius of the unit circle in pixels."""
        unit = transform(self.contours, self.rotation, self.squeeze)
        radius = self.diameter / 2
        rise = self.lift - min(float(c[:, 1].min()) for c in unit) * radius
        column, row = camera.project(self.x, rise, self.z)
        pixels = radius * camera.focal / self.z
        return tuple(c * [pixels, -pixels] + [column, row] for c in unit), (column, row), pixels


def random_thing(rng: np.random.Generator, camera: Camera, group: int) -> Thing:
    """Any class, anywhere in view: far ones are drawn as often as near ones per octave of distance."""
    label = int(rng.integers(len(CLASSES)))
    z = float(np.exp(rng.uniform(np.log(NEAREST), np.log(FARTHEST))))
    return Thing(
        label=label,
        contours=CLASSES[label].outline(rng),
        texture=Texture.random(rng),
        diameter=rng.uniform(0.75, 1.15),
        x=camera.x_at(rng.uniform(0.06, 0.94) * camera.size, z),
        z=z,
        lift=rng.uniform(0.1, 1.5) if rng.random() < 0.45 else 0.0,
        rotation=rng.uniform(-0.5, 0.5),
        squeeze=rng.uniform(0.78, 1.0),
        group=group,
    )


def random_crowd(rng: np.random.Generator, camera: Camera, group: int) -> list[Thing]:
    """8 to 14 small things of one class that overlap each other."""
    label = int(rng.integers(len(CLASSES)))
    z = rng.uniform(4.0, 6.5)
    column = rng.uniform(0.25, 0.75) * camera.size
    diameter = rng.uniform(0.4, 0.5)
    return [
        Thing(
            label=label,
            contours=CLASSES[label].outline(rng),
            texture=Texture.random(rng),
            diameter=diameter,
            x=camera.x_at(column, z) + rng.uniform(-0.8, 0.8),
            z=z + rng.uniform(-0.4, 0.4),
            lift=0.0,
            rotation=rng.uniform(-0.5, 0.5),
            squeeze=rng.uniform(0.85, 1.0),
            group=group,
            crowd=True,
        )
        for _ in range(int(rng.integers(8, 15)))
    ]
