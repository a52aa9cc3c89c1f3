"""Procedural textures. Colour and pattern are drawn independently of the class, so neither gives it away."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray, "Texture"], np.ndarray]


@dataclass(frozen=True)
class Texture:
    """A pattern that blends two colours, fixed to the object's own coordinates.

    Attributes:
        pattern: maps unit coordinates (u, v) to a blend weight in [0, 1].
        colors: 2 x 3 float32 RGB in [0, 1].
        frequency: repeats over the object's diameter.
        angle: direction in radians.
        phase: offset of the pattern.
        grid: 16 x 16 float32 random values in [0, 1] (used by noise).
    """

    pattern: Pattern
    colors: np.ndarray
    frequency: float
    angle: float
    phase: float
    grid: np.ndarray

    def __call__(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """RGB (H x W x 3 float32 in [0, 1]) at unit coordinates ``u``, ``v`` (each H x W float32)."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        weight = self.pattern(u * cos + v * sin, v * cos - u * sin, self)[..., None]
        return self.colors[0] + (self.colors[1] - self.colors[0]) * weight

    @classmethod
    def random(cls, rng: np.random.Generator) -> Texture:
        """Any pattern, any two clearly different saturated colours."""
        return cls(
            pattern=PATTERNS[rng.integers(len(PATTERNS))],
            colors=_color_pair(rng),
            frequency=rng.uniform(1.6, 3.2),
            angle=rng.uniform(0, np.pi),
            phase=rng.uniform(0, 1),
            grid=rng.random((16, 16), dtype=np.float32),
        )


def _color_pair(rng: np.random.Generator) -> np.ndarray:
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0.6, 1.0), rng.uniform(0.75, 1.0)
    first = colorsys.hsv_to_rgb(hue, saturation, value)
    if rng.random() < 0.5:  # a darker or paler tone of the same hue
        second = colorsys.hsv_to_rgb(hue, saturation * rng.uniform(0.2, 0.6), value * rng.uniform(0.45, 1.0))
    else:
        second = colorsys.hsv_to_rgb((hue + rng.uniform(0.2, 0.8)) % 1.0, rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.0))
    return np.array([first, second], dtype=np.float32)


def _soft_step(x: np.ndarray, sharpness: float = 3.0) -> np.ndarray:
    return np.clip(x * sharpness + 0.5, 0, 1)


def _stripes(u: np.ndarray, v: np.ndarray, t: Texture) -> np.ndarray:
    return _soft_step(np.sin((u * t.frequency + t.phase) * np.float32(2 * np.pi)))


def _checks(u: np.ndarray, v: np.ndarray, t: Texture) -> np.ndarray:
    k = np.float32(1.6 * np.pi)
    return _soft_step(np.sin((u * t.frequency + t.phase) * k) * np.sin((v * t.frequency + t.phase) * k), 6.0)


def _dots(u: np.ndarray, v: np.ndarray, t: Texture) -> np.ndarray:
    du = (u * t.frequency + t.phase) % 1.0 - 0.5
    dv = (v * t.frequency + t.phase) % 1.0 - 0.5
    return _soft_step(np.float32(0.3) - np.sqrt(du * du + dv * dv), 8.0)


def _zigzag(u: np.ndarray, v: np.ndarray, t: Texture) -> np.ndarray:
    fold = np.abs((v * t.frequency) % 1.0 - 0.5)
    return _soft_step(np.sin((u * t.frequency + fold + t.phase) * np.float32(2 * np.pi)))


def _noise(u: np.ndarray, v: np.ndarray, t: Texture) -> np.ndarray:
    x, y = (((c * np.float32(0.35) + np.float32(0.5)) * 15).astype(np.float32) for c in (u, v))
    field = cv2.remap(t.grid, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.clip((field - 0.5) * 1.8 + 0.5, 0, 1)


def _fade(u: np.ndarray, v: np.ndarray, t: Texture) -> np.ndarray:
    return np.clip(u * 0.5 + 0.5, 0, 1)


PATTERNS: tuple[Pattern, ...] = (_stripes, _checks, _dots, _zigzag, _noise, _fade)


def fractal_noise(rng: np.random.Generator, size: int, cells: int, octaves: int) -> np.ndarray:
    """Smooth noise, size x size float32 in about [-1, 1], whose coarsest bumps span ``size / cells`` pixels."""
    total = np.zeros((size, size), dtype=np.float32)
    for octave in range(octaves):
        n = cells * 2**octave
        grid = rng.uniform(-1, 1, (n + 1, n + 1)).astype(np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
    return total
