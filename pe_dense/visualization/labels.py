"""Text in images: a good font, and a layout in which labels do not cover each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pe_dense.visualization.colors import Color, text_color

_PADDING = 0.18  # around the text, in font sizes
_TITLE_LINES = 3


@lru_cache(maxsize=32)
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans (it comes with matplotlib; Latin, Greek, Cyrillic, Arabic, ...) of ``size`` pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def clean_text(text: str) -> str:
    """One printable line: line breaks become blanks, what cannot be encoded a question mark."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


@dataclass(frozen=True)
class Label:
    """A text that belongs to a box.

    Attributes:
        text: what to write.
        box: XYXY pixels of the object.
        color: background of the label.
        priority: labels of higher priority get their place first.
    """

    text: str
    box: tuple[float, float, float, float]
    color: Color
    priority: float = 0.0


def draw_labels(image: np.ndarray, labels: Sequence[Label], size: int) -> np.ndarray:
    """Write labels next to their boxes: H x W x 3 uint8 in and out.

    Labels never cover each other: one for which there is no room near its box is left out.
    """
    if not labels:
        return image
    font = load_font(size)
    pad = max(1, round(_PADDING * size))
    texts = [clean_text(label.text) for label in labels]
    height = sum(font.getmetrics()) + pad
    sizes = [(int(np.ceil(font.getlength(text))) + 2 * pad, height) for text in texts]
    order = sorted(range(len(labels)), key=lambda i: (-labels[i].priority, i))
    places = place_labels([sizes[i] for i in order], [labels[i].box for i in order], image.shape[1], image.shape[0])
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas, "RGBA")
    for index, place in zip(order, places):
        if place is not None:
            (x, y), (w, h) = place, sizes[index]
            color = labels[index].color
            draw.rectangle((x, y, x + w - 1, y + h - 1), fill=(*color, 205))
            draw.text((x + pad, y + pad // 2), texts[index], font=font, fill=text_color(color))
    return np.array(canvas)


def place_labels(
    sizes: Sequence[tuple[int, int]], boxes: Sequence[Sequence[float]], width: int, height: int
) -> list[tuple[int, int] | None]:
    """Find the top left corner of each label, in order of importance.

    Args:
        sizes: (width, height) of each label.
        boxes: XYXY pixels of the object of each label.
        width, height: of the image.

    Returns:
        (x, y) of each label inside the image (a label wider than the image begins at 0), or None where there is no
        room that another label does not take.
    """
    taken = np.zeros((len(sizes), 4))
    objects = np.asarray(boxes, dtype=float).reshape(-1, 4)
    places: list[tuple[int, int] | None] = []
    count = 0
    for index, (size, box) in enumerate(zip(sizes, objects)):
        others = np.delete(objects, index, axis=0)
        best, best_cost = None, np.inf
        for rank, (x, y) in enumerate(_candidates(size, box, width, height)):
            spot = np.array([x, y, x + size[0], y + size[1]])
            if _overlap(spot, taken[:count]).any():
                continue
            cost = 0.12 * rank + _overlap(spot, others).sum() / (size[0] * size[1])
            if cost < best_cost:
                best, best_cost = (x, y), cost
        if best is not None:
            taken[count] = (*best, best[0] + size[0], best[1] + size[1])
            count += 1
        places.append(best)
    return places


def _candidates(size: tuple[int, int], box: np.ndarray, width: int, height: int) -> Iterable[tuple[int, int]]:
    """Places for a label, best first: above, below, inside at the top and bottom, beside."""
    (w, h), (x0, y0, x1, y1) = size, (round(float(v)) for v in box)
    wanted = [
        (x0, y0 - h), (x0, y0), (x0, y1), (x0, y1 - h), (x1 - w, y0 - h), (x1 - w, y1),
        (x1, y0), (x0 - w, y0), (x1, y1 - h), (x0 - w, y1 - h),
        (x0, y0 + h), (x0, y0 - 2 * h), (x0, y1 + h), ((x0 + x1 - w) // 2, (y0 + y1 - h) // 2),
    ]  # fmt: skip
    seen = set()
    for x, y in wanted:
        inside = (max(0, min(x, width - w)), max(0, min(y, height - h)))
        if inside not in seen:
            seen.add(inside)
            yield inside


def _overlap(spot: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area shared by one XYXY box and each of N others."""
    low, high = np.maximum(spot[:2], others[:, :2]), np.minimum(spot[2:], others[:, 2:])
    return np.clip(high - low, 0, None).prod(axis=1)


def title_bars(
    texts: Sequence[str], widths: Sequence[int], size: int, background: Color = (32, 32, 32)
) -> list[np.ndarray]:
    """Strips with a title each, all as high as the longest title needs: up to three lines, then it is cut."""
    font = load_font(size, bold=True)
    pad = max(2, size // 3)
    wrapped = [wrap_text(text, font, width - 2 * pad, _TITLE_LINES) for text, width in zip(texts, widths)]
    line = sum(font.getmetrics())
    height = line * max(len(lines) for lines in wrapped) + pad
    strips = []
    for lines, width in zip(wrapped, widths):
        strip = Image.new("RGB", (width, height), background)
        draw = ImageDraw.Draw(strip)
        for row, text in enumerate(lines):
            draw.text((pad, pad // 2 + row * line), text, font=font, fill=text_color(background))
        strips.append(np.array(strip))
    return strips


def wrap_text(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Break a text into lines of ``width`` pixels, at blanks where possible; beyond ``most`` lines it is cut."""
    lines = [""]
    for word in clean_text(text).split(" "):
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    if len(lines) > most:
        last = lines[most - 1]
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], f"{last}…"]
    return lines
