"""Colours that stay apart for most eyes."""

from __future__ import annotations

import colorsys

import numpy as np

Color = tuple[int, int, int]

# Okabe and Ito (2008) without black, then Tol's muted scheme (2021): safe for the common colour-vision deficiencies.
_SAFE: tuple[Color, ...] = (
    (86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0), (0, 114, 178),
    (170, 68, 153), (153, 153, 51), (136, 34, 85), (68, 170, 153), (221, 204, 119), (51, 34, 136), (204, 102, 119),
)  # fmt: skip
_GOLDEN = 0.618033988749895


def palette_color(index: int) -> Color:
    """RGB of class or instance ``index`` (>= 0): the same at every call and for every number of classes.

    The first 14 are colour-blind-safe; further ones walk around the hue circle with changing lightness.
    """
    if index < len(_SAFE):
        return _SAFE[index]
    step = index - len(_SAFE)
    lightness = (0.62, 0.42, 0.75)[step % 3]
    rgb = colorsys.hls_to_rgb((0.07 + step * _GOLDEN) % 1.0, lightness, 0.75)
    red, green, blue = (round(c * 255) for c in rgb)
    return red, green, blue


def text_color(background: Color) -> Color:
    """Black or white, whichever reads better on ``background`` (luminance of ITU-R BT.601)."""
    luminance = float(np.dot(background, (0.299, 0.587, 0.114)))
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
