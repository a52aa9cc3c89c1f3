"""Boxes, masks and labels of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from pe_dense.structures import Instances, RoiMasks
from pe_dense.visualization.canvas import SOLID, as_rgb, draw_box, enlarge, fit_into, font_size, line_width
from pe_dense.visualization.colors import Color, palette_color
from pe_dense.visualization.labels import Label, draw_labels

ColorBy = Literal["class", "instance"]

_CROWDED = 12  # objects, from which on labels are smaller


def draw_instances(
    image: np.ndarray | Tensor,
    instances: Instances,
    names: Sequence[str] | None = None,
    *,
    color_by: ColorBy = "class",
    colors: Sequence[Color] | None = None,
    labels: Sequence[str] | None = None,
    styles: Sequence[tuple[int, ...]] | None = None,
    score_threshold: float = 0.0,
    show_boxes: bool = True,
    alpha: float = 0.4,
    min_side: int = 640,
    fit: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draw the objects of one image.

    Args:
        image: H x W x 3 uint8 array or 3 x H x W tensor, RGB, of the size the instances refer to.
        instances: N objects; masks may be bool or RoiMasks.
        names: class names by contiguous index; without them the index is written.
        color_by: one colour per class, or per object (its track id if it has one).
        colors, labels, styles: per object, instead of the automatic ones; a style is (dash, gap) in line widths.
        score_threshold: objects with a lower score are left out.
        show_boxes: whether to draw the boxes.
        alpha: opacity of the mask's fill.
        min_side: smaller images are enlarged until their longer side has this many pixels, so that text is legible.
        fit: (width, height) that the image is scaled to fit into instead; lines and text are made for that size.

    Returns:
        H' x W' x 3 uint8 RGB, a new image.

    Raises:
        ValueError: if the image is not of the instances' size.
    """
    canvas = as_rgb(image)
    if canvas.shape[:2] != tuple(instances.image_size):
        raise ValueError(
            f"draw_instances: the image is {canvas.shape[0]} x {canvas.shape[1]} but the instances refer to "
            f"{instances.image_size[0]} x {instances.image_size[1]} (height x width); rescale one of them"
        )
    canvas, factor = enlarge(canvas, min_side) if fit is None else fit_into(canvas, *fit)
    colors = colors or [_color(instances, i, color_by) for i in range(len(instances))]
    labels = labels or [default_label(instances, i, names) for i in range(len(instances))]
    order = _visible(instances, score_threshold)
    _fill_masks(canvas, instances.masks, order, colors, alpha, factor)
    boxes = instances.boxes.detach().float().cpu().nan_to_num().numpy() * factor
    width = line_width(*canvas.shape[:2])
    for i in order if show_boxes else ():
        draw_box(canvas, boxes[i].tolist(), colors[i], width, styles[i] if styles else SOLID)
    texts = [Label(labels[i], _corners(boxes[i]), colors[i], _score(instances, i)) for i in order if labels[i]]
    size = font_size(*canvas.shape[:2])
    return draw_labels(canvas, texts, size if len(texts) <= _CROWDED else max(11, round(0.8 * size)))


def default_label(instances: Instances, index: int, names: Sequence[str] | None = None) -> str:
    """Class name, track id, score in per cent and "crowd", as far as they are known."""
    parts = []
    if instances.classes is not None:
        label = int(instances.classes[index])
        parts.append(names[label] if names is not None and 0 <= label < len(names) else str(label))
    if instances.track_ids is not None:
        parts.append(f"#{int(instances.track_ids[index])}")
    if instances.scores is not None:
        parts.append(f"{_score(instances, index):.0%}")
    if instances.crowd is not None and bool(instances.crowd[index]):
        parts.append("(crowd)")
    return " ".join(parts)


def _score(instances: Instances, index: int) -> float:
    return float(instances.scores[index]) if instances.scores is not None else 0.0


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box.tolist()
    return x0, y0, x1, y1


def _color(instances: Instances, index: int, color_by: str) -> Color:
    if color_by == "class" and instances.classes is not None:
        return palette_color(max(0, int(instances.classes[index])))
    if instances.track_ids is not None:
        return palette_color(max(0, int(instances.track_ids[index])))
    return palette_color(index)


def _visible(instances: Instances, threshold: float) -> list[int]:
    """Indices to draw, large objects first, so that small ones lie on top."""
    boxes = instances.boxes.detach().float().cpu()
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    order: list[int] = torch.argsort(area, descending=True, stable=True).tolist()
    return [i for i in order if instances.scores is None or _score(instances, i) >= threshold]


def _fill_masks(
    canvas: np.ndarray,
    masks: Tensor | RoiMasks | None,
    order: Sequence[int],
    colors: Sequence[Color],
    alpha: float,
    factor: float,
) -> None:
    """Translucent fill and opaque contour, in place, one mask at a time."""
    if masks is None:
        return
    width = line_width(*canvas.shape[:2])
    for i in order:
        mask = _mask_on_canvas(masks, i, (canvas.shape[0], canvas.shape[1]), factor)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        x, y, w, h = cv2.boundingRect(mask)
        part, inside = canvas[y : y + h, x : x + w], mask[y : y + h, x : x + w] > 0
        mixed = part[inside] * (1 - alpha) + np.array(colors[i], dtype=np.float32) * alpha
        part[inside] = np.round(mixed).astype(np.uint8)
        cv2.drawContours(canvas, contours, -1, colors[i], width, cv2.LINE_AA)


def _mask_on_canvas(masks: Tensor | RoiMasks, index: int, size: tuple[int, int], factor: float) -> np.ndarray:
    """One mask at the canvas's size: height x width uint8 of 0 and 1."""
    if isinstance(masks, RoiMasks):
        one = masks[index : index + 1].to("cpu")
        pasted = RoiMasks(one.probs.detach(), one.boxes.detach() * factor, size, one.threshold).bitmasks()[0]
        return pasted.numpy().astype(np.uint8)
    mask = masks[index].detach().cpu().numpy().astype(np.float32)
    if mask.shape == size:
        return (mask > 0.5).astype(np.uint8)
    if factor < 1:
        return (cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
    large = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    # the staircase of single pixels, enlarged, is no feature of the object
    return (cv2.GaussianBlur(large, (0, 0), 0.5 * factor) > 0.5).astype(np.uint8)
