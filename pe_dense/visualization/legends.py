"""Legends: colour bars with round values, and names of classes with their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw

from pe_dense.visualization.colors import Color, palette_color
from pe_dense.visualization.labels import clean_text, load_font

Names = Sequence[str] | Mapping[int, str] | None
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


def color_table(colormap: str) -> np.ndarray:
    """256 x 3 uint8 RGB of one of matplotlib's colour maps.

    Raises:
        ValueError: if there is no such colour map.
    """
    if colormap not in matplotlib.colormaps:
        raise ValueError(f'there is no colour map "{colormap}"; take one of matplotlib\'s, such as "plasma_r"')
    colors = matplotlib.colormaps[colormap](np.linspace(0, 1, 256))[:, :3]
    table: np.ndarray = np.round(colors * 255).astype(np.uint8)
    return table


def colored(values: np.ndarray, known: np.ndarray, low: float, high: float, table: np.ndarray) -> np.ndarray:
    """Colours of H x W values, those from ``low`` to ``high`` spread over the table: H x W x 3 uint8.

    What is not ``known`` becomes black; values beyond the ends get the colour of the end.
    """
    scaled = (np.where(known, values, low) - low) / max(high - low, 1e-6)
    picture: np.ndarray = table[np.round(np.clip(scaled, 0, 1) * 255).astype(np.int64)]
    picture[~known] = 0
    return picture


def color_bar(
    table: np.ndarray, low: float, high: float, height: int, unit: str, signed: bool = False, min_width: int = 0
) -> np.ndarray:
    """A vertical scale, ``low`` at the bottom, with up to six round values: height x W x 3 uint8.

    Args:
        table: 256 x 3 uint8.
        low, high: the values of its first and last colour.
        height: of the strip in pixels.
        unit: written behind each value, e.g. " m".
        signed: positive values get a plus.
        min_width: least width of the strip in pixels.
    """
    size = max(9, min(18, height // 18))
    font = load_font(size)
    margin = min(size, height // 4)
    most = min(6, max(2, height // (3 * size)))
    span = high - low
    ticks = [v for v in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= v <= high]
    if span <= 0 or not ticks:
        ticks = [low]
    texts = [f"{round(v, 9):{'+' if signed and v else ''}.4g}{unit}" for v in ticks]
    bar, pad = max(8, size), size // 2
    width = bar + 3 * pad + int(max(font.getlength(t) for t in [*texts, f"88.8{unit}"]))  # most bars are of one width
    strip = np.full((height, max(width, min_width), 3), _PAPER, dtype=np.uint8)
    rows = np.linspace(255, 0, max(1, height - 2 * margin)).astype(np.int64)
    strip[margin : margin + len(rows), pad : pad + bar] = table[rows][:, None]
    canvas = Image.fromarray(strip)
    draw = ImageDraw.Draw(canvas)
    for tick, text in zip(ticks, texts):
        y = margin + (len(rows) - 1) * (1 - (tick - low) / span if span > 0 else 0.5)
        draw.line((pad + bar, y, pad + bar + pad // 2, y), fill=_INK)
        draw.text((2 * pad + bar, y), text, font=font, fill=_INK, anchor="lm")
    return np.array(canvas)


def class_names(labels: Sequence[int], names: Names) -> list[str]:
    """A printable name of each class index; the number where there is none."""
    known = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
    return [clean_text(str(known.get(label, label))) for label in labels]


def by_frequency(counts: np.ndarray) -> list[int]:
    """The classes that occur, most frequent first; pixels of each label value: 256, the last one not labelled."""
    return [int(k) for k in np.argsort(-counts[:255], kind="stable") if counts[k]]


def class_column(labels: Sequence[int], names: Names, height: int, size: int, min_width: int = 0) -> np.ndarray:
    """Names below each other, as many as fit in ``height``, and how many more there are: height x W x 3 uint8."""
    font = load_font(size)
    step = round(1.5 * size)
    lines = max(1, (height - size // 2) // step)
    shown = labels if len(labels) <= lines else labels[: max(1, lines - 1)]
    texts = class_names(shown, names)
    more = f"and {len(labels) - len(shown)} more" if len(shown) < len(labels) else ""
    width = int(max(font.getlength(t) for t in [*texts, more])) + 3 * size
    canvas = Image.new("RGB", (max(width, min_width), height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for row, (label, text) in enumerate(zip(shown, texts)):
        _entry(draw, size // 2, size // 2 + row * step, size, palette_color(max(0, label)), text)
    if more and len(shown) < lines:
        draw.text((2 * size, size + len(shown) * step), more, font=font, fill=_INK, anchor="lm")
    return np.array(canvas)


def class_strip(labels: Sequence[int], names: Names, width: int, others: Mapping[str, Color], size: int) -> np.ndarray:
    """Names next to each other, in as many lines as it takes: H x width x 3 uint8.

    Args:
        labels: class indices, in this order.
        names: of the classes.
        width: of the strip in pixels.
        others: further entries, text to colour.
        size: of the font in pixels.
    """
    font = load_font(size)
    entries = [(palette_color(max(0, k)), text) for k, text in zip(labels, class_names(labels, names))]
    entries += [(color, text) for text, color in others.items()]
    places, x, y = [], size // 2, size // 2
    for _, text in entries:
        wide = int(font.getlength(text)) + 3 * size
        if x > size and x + wide > width:
            x, y = size // 2, y + round(1.5 * size)
        places.append((x, y))
        x += wide
    canvas = Image.new("RGB", (width, y + 3 * size // 2), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for (color, text), (left, top) in zip(entries, places):
        _entry(draw, left, top, size, color, text)
    return np.array(canvas)


def _entry(draw: ImageDraw.ImageDraw, x: int, y: int, size: int, color: Color, text: str) -> None:
    draw.rectangle((x, y, x + size, y + size), fill=color, outline=_INK)
    draw.text((x + 1.5 * size, y + size / 2), text, font=load_font(size), fill=_INK, anchor="lm")
