"""The object classes: outlines in unit coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Contours = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class ShapeClass:
    """One object class.

    Attributes:
        json_id: category id in the COCO json (with gaps, as in COCO itself).
        name: class name.
        outline: draws one random member of the class: the outer contour and, if any, the hole, each P x 2 (x right,
            y up), inside the unit circle.
    """

    json_id: int
    name: str
    outline: Callable[[np.random.Generator], Contours]


def _circle(radius: float = 1.0, points: int = 72) -> np.ndarray:
    angle = np.arange(points) * (2 * np.pi / points)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius


def _disc(rng: np.random.Generator) -> Contours:
    return (_circle() * [1.0, rng.uniform(0.82, 1.0)],)


def _box(rng: np.random.Generator) -> Contours:
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    sides = np.array([1.0, rng.uniform(0.6, 1.0)])
    return (corners * sides / np.hypot(*sides),)


def _triangle(rng: np.random.Generator) -> Contours:
    apex = rng.uniform(-0.35, 0.35)
    return (np.array([[-0.87, -0.5], [0.87, -0.5], [apex, 0.93]]),)


def _star(rng: np.random.Generator) -> Contours:
    angle = np.pi / 2 + np.arange(10) * (np.pi / 5)
    radius = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.4, 0.52))
    return (np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None],)


def _ring(rng: np.random.Generator) -> Contours:
    return _circle(), _circle(rng.uniform(0.48, 0.62))


def _cross(rng: np.random.Generator) -> Contours:
    a, b = rng.uniform(0.26, 0.33), 0.94
    quarter = np.array([[b, -a], [b, a], [a, a]])
    turns = [np.array([[0.0, -1.0], [1.0, 0.0]])]  # counter-clockwise quarter turn
    turns += [np.linalg.matrix_power(turns[0], k) for k in (2, 3)]
    return (np.concatenate([quarter, *(quarter @ turn.T for turn in turns)]),)


CLASSES: tuple[ShapeClass, ...] = (
    ShapeClass(1, "disc", _disc),
    ShapeClass(3, "box", _box),
    ShapeClass(4, "triangle", _triangle),
    ShapeClass(7, "star", _star),
    ShapeClass(9, "ring", _ring),
    ShapeClass(12, "cross", _cross),
)


def transform(contours: Contours, rotation: float, squeeze: float) -> Contours:
    """Rotate counter-clockwise by ``rotation`` radians, then scale x by ``squeeze`` (a billboard turned sideways)."""
    cos, sin = np.cos(rotation), np.sin(rotation)
    matrix = np.array([[cos * squeeze, -sin * squeeze], [sin, cos]])
    return tuple(c @ matrix.T for c in contours)


def area(contours: Contours) -> float:
    """Area of the outer contour less that of the holes (shoelace formula)."""
    sizes = [abs(np.sum(c[:, 0] * np.roll(c[:, 1], -1) - c[:, 1] * np.roll(c[:, 0], -1))) / 2 for c in contours]
    return float(sizes[0] - sum(sizes[1:]))
