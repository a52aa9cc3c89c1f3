"""Scenes: which objects are in a picture or a video, and what can be seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pe_dense.data.scenes.backdrop import random_backdrop
from pe_dense.data.scenes.render import Rendering, Silhouette, owners, render, silhouettes
from pe_dense.data.scenes.world import Camera, Thing, random_crowd, random_thing

_EMPTY_SCENES = 0.04
_CROWD_SCENES = 0.08
_LEAST_VISIBLE = 0.35  # part of the whole object, also of what is outside the image
_LEAST_SIDE = 1 / 16  # of the visible box, relative to the image: 12 pixels of 192


@dataclass(frozen=True)
class Scene:
    """One picture, its camera and its objects, far to near (the order ``picture.owner`` indexes)."""

    camera: Camera
    shapes: list[Silhouette]
    picture: Rendering


def random_scene(rng: np.random.Generator, size: int) -> Scene:
    """A scene with mostly 2 to 6 objects; some have none, some a crowd; each object shows at least about a third."""
    camera = Camera.random(rng, size)
    backdrop = random_backdrop(rng, camera)
    light = rng.uniform(0.15, 0.85) * np.pi
    kind = rng.random()
    things: list[Thing] = []
    if kind >= _EMPTY_SCENES:
        things += [random_thing(rng, camera, group) for group in range(int(rng.integers(3, 8)))]
    if kind >= 1 - _CROWD_SCENES:
        things = things[:4] + random_crowd(rng, camera, group=len(things))
    shapes = drop_hidden(size, silhouettes(camera, things))
    return Scene(camera, shapes, render(camera, backdrop, shapes, light))


def drop_hidden(size: int, shapes: Sequence[Silhouette]) -> list[Silhouette]:
    """Take out, one after the other, the object of which least is seen, until enough is seen of each.

    A crowd loses its hidden members in the same way: the rest still is the crowd.
    """
    kept = list(shapes)
    while kept:
        owner = owners(size, kept)
        seen = [_visibility(owner, index, shape) for index, shape in enumerate(kept)]
        worst = int(np.argmin(seen))
        if seen[worst] >= _LEAST_VISIBLE:
            break
        del kept[worst]
    return kept


def _visibility(owner: np.ndarray, index: int, shape: Silhouette) -> float:
    """Visible part of the whole object; 0 if what is seen of it is too small to be told."""
    seen = owner[shape.window] == index
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return 0.0
    side = min(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    if side < _LEAST_SIDE * len(owner) and not shape.thing.crowd:
        return 0.0
    return float(seen.sum()) / shape.pixels
