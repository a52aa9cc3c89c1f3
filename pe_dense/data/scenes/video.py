"""Short videos in which objects cross, hide behind others, leave the image and come back, each with one identity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pe_dense.data.scenes.backdrop import random_backdrop
from pe_dense.data.scenes.compose import Scene
from pe_dense.data.scenes.render import render, silhouettes
from pe_dense.data.scenes.shapes import CLASSES
from pe_dense.data.scenes.world import Camera, Thing, random_thing

FRAMES = 24
FRAME_RATE = 12


@dataclass(frozen=True)
class Actor:
    """An object and its place over time: ``move(t)`` gives (x, z, rotation) for t from 0 to 1."""

    thing: Thing
    move: Callable[[float], tuple[float, float, float]]

    def at(self, t: float) -> Thing:
        """The object at time ``t``."""
        x, z, rotation = self.move(t)
        return replace(self.thing, x=x, z=z, rotation=rotation)


def random_video(rng: np.random.Generator, size: int) -> Iterator[Scene]:
    """The frames of one video. ``thing.group`` is the identity, 0, 1, ..., the same in all frames."""
    camera = Camera.random(rng, size)
    backdrop = random_backdrop(rng, camera)
    light = rng.uniform(0.15, 0.85) * np.pi
    actors = _cast(rng, camera)
    for frame in range(FRAMES):
        shapes = silhouettes(camera, [actor.at(frame / (FRAMES - 1)) for actor in actors])
        yield Scene(camera, shapes, render(camera, backdrop, shapes, light))


def _cast(rng: np.random.Generator, camera: Camera) -> list[Actor]:
    """A wide box, one that passes behind it, two that cross, one that leaves and returns, one that comes closer."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    middle = rng.uniform(0.4, 0.6) * camera.size
    size, spin = camera.size, rng.uniform(-1.2, 1.2, 4)

    def across(begin: float, end: float, z: float, turn: float) -> Callable[[float], tuple[float, float, float]]:
        return lambda t: (camera.x_at(begin + (end - begin) * t, z), z, turn * (t - 0.5))

    def away_and_back(t: float) -> tuple[float, float, float]:
        column = size * (0.5 - side * (0.35 + 0.35 * np.sin(np.pi * t)))
        return camera.x_at(column, 3.4), 3.4, spin[2] * t

    def closer(t: float) -> tuple[float, float, float]:
        z = 8.0 * (3.0 / 8.0) ** t
        return camera.x_at(size * (0.5 + side * (0.2 + 0.15 * t)), z), z, spin[3] * t

    # all but the box and the one behind it float, so that nothing else hides that one where it comes out
    wide = replace(
        _actor_thing(rng, camera, 0, label=1), diameter=1.8, squeeze=1.0, contours=_square(), lift=0.0, rotation=0.0
    )
    start, stop = middle - side * 0.36 * size, middle + side * 0.36 * size
    return [
        Actor(wide, lambda t: (camera.x_at(middle, 2.7), 2.7, 0.0)),
        Actor(replace(_actor_thing(rng, camera, 1), diameter=0.7), across(start, stop, 6.2, 0.0)),
        Actor(replace(_actor_thing(rng, camera, 2), lift=1.0), across(stop, start, 5.2, spin[0])),
        Actor(replace(_actor_thing(rng, camera, 3), lift=1.0), across(start, stop, 4.3, spin[1])),
        Actor(replace(_actor_thing(rng, camera, 4), lift=1.2, diameter=0.8), away_and_back),
        Actor(replace(_actor_thing(rng, camera, 5), lift=1.2), closer),
    ]


def _actor_thing(rng: np.random.Generator, camera: Camera, group: int, label: int | None = None) -> Thing:
    thing = replace(random_thing(rng, camera, group), lift=0.0)
    if label is None or thing.label == label:
        return thing
    return replace(thing, label=label, contours=CLASSES[label].outline(rng))


def _square() -> tuple[np.ndarray, ...]:
    return (np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2),)
