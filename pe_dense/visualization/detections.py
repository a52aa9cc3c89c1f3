"""Ground truth beside predictions, with the errors marked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from torch import Tensor

from pe_dense.structures import Instances
from pe_dense.structures.masks import segmentation_rle
from pe_dense.structures.wording import nothing_above
from pe_dense.visualization.canvas import DASHED, DOTTED, SOLID, draw_box, save_image
from pe_dense.visualization.colors import Color, palette_color
from pe_dense.visualization.instances import ColorBy, draw_instances
from pe_dense.visualization.labels import load_font
from pe_dense.visualization.matching import AnnotatedImages, Comparison, Status, compare, group_results
from pe_dense.visualization.sheets import SHEET_SUFFIXES, contact_sheet, pair_size, side_by_side

logger = logging.getLogger(__name__)

Order = Literal["error", "score", "name"]

# Not in the palette of the classes.
_ERROR_COLORS: dict[Status, Color] = {"missed": (255, 45, 45), "false": (255, 45, 45), "wrong class": (255, 0, 220)}
_STYLES: dict[Status, tuple[int, ...]] = {"missed": DASHED, "false": DASHED, "wrong class": DOTTED}
_IGNORED: Color = (150, 150, 150)
_PAIR_WIDTH = 1200  # on a contact sheet


def visualize_detections(
    dataset: AnnotatedImages,
    results: Sequence[Mapping[str, Any]],
    output: str | Path,
    *,
    score_threshold: float = 0.5,
    sort: Order = "error",
    num: int = 12,
    sheet: bool = False,
    color_by: ColorBy = "class",
) -> list[Path]:
    """Draw ground truth and detections side by side. If all detections score too low, a warning says so.

    Args:
        dataset: ground truth and images.
        results: rows of a COCO results file.
        output: a picture file (one contact sheet) or a folder (one picture per image).
        score_threshold: detections with a lower score are left out.
        sort: "error": most errors first; "score": highest mean score first; "name": by file name.
        num: how many images, 0 for all.
        sheet: also write ``contact_sheet.png`` when ``output`` is a folder.
        color_by: "class", or "instance": an object and its detection have a colour of their own.

    Returns:
        The files written.

    Raises:
        ValueError: if the results are malformed or for another data set, or there is no image.
    """
    if not len(dataset):
        raise ValueError("visualize_detections: the data set has no images")
    output = Path(output)
    everything = compare_all(dataset, results, score_threshold)
    if results and not any(len(comparison.detected) for comparison in everything):
        highest = max(float(row["score"]) for row in results)
        logger.warning(nothing_above(score_threshold, len(results), highest))
    ranked = rank(everything, sort)
    chosen = ranked[:num] if num > 0 else ranked
    title = f"predictions, score >= {score_threshold:g}"
    written, pairs, titles = [], [], []
    single = output.suffix.lower() in SHEET_SUFFIXES
    for place, comparison in enumerate(chosen):
        image, names = dataset[comparison.index]["image"], dataset.categories.names
        if single or sheet:
            pairs.append(draw_comparison(image, comparison, names, color_by, title, fit=pair_size(_PAIR_WIDTH)))
            titles.append(summary(comparison))
        if not single:
            stem = "_".join(PurePosixPath(comparison.file_name).with_suffix("").parts)
            written.append(output / f"{place:04d}_{stem}.png")
            save_image(written[-1], draw_comparison(image, comparison, names, color_by, title))
    if pairs:
        written.append(output if single else output / "contact_sheet.png")
        picture = contact_sheet(pairs, titles, cell=_PAIR_WIDTH)
        save_image(written[-1], np.concatenate([picture, legend(picture.shape[1], color_by)]))
    return written


def compare_all(
    dataset: AnnotatedImages, results: Sequence[Mapping[str, Any]], score_threshold: float = 0.5
) -> list[Comparison]:
    """Compare every image of the data set with its detections, without reading the images."""
    detected = group_results(results, dataset, score_threshold)
    return [compare(i, dataset.file_name(i), dataset.annotations(i), d) for i, d in enumerate(detected)]


def rank(comparisons: Sequence[Comparison], sort: Order) -> list[Comparison]:
    """Order by number of errors or mean score (highest first; ties by name), or by name."""
    if sort not in ("error", "score", "name"):
        raise ValueError(f"sort must be 'error', 'score' or 'name', not {sort!r}")
    keys = {
        "error": lambda c: -float(c.errors),
        "score": lambda c: -float(c.detected.scores.mean()) if len(c.detected) else 0.0,
        "name": lambda c: 0.0,
    }
    return sorted(comparisons, key=lambda c: (keys[sort](c), c.file_name))


def summary(comparison: Comparison) -> str:
    """File name and what is wrong, on one line."""
    missed, false = comparison.truth_status.count("missed"), comparison.detected_status.count("false")
    counts = {"missed": missed, "false": false, "wrong class": comparison.wrong_class}
    text = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no errors"
    return f"{comparison.file_name}: {text}"


def draw_comparison(
    image: np.ndarray | Tensor,
    comparison: Comparison,
    names: Sequence[str],
    color_by: ColorBy = "class",
    title: str = "predictions",
    fit: tuple[int, int] | None = None,
) -> np.ndarray:
    """Ground truth left, detections right, below ``title``: H x W x 3 uint8; ``fit`` is (width, height) of each."""
    size = (image.shape[-2], image.shape[-1]) if isinstance(image, Tensor) else (image.shape[0], image.shape[1])
    truth, found = comparison.truth, comparison.detected
    rivals = {int(p): row for row, p in enumerate(comparison.partner) if p >= 0}
    truth_labels = []
    for i, status in enumerate(comparison.truth_status):
        name = names[int(truth.classes[i])]
        notes = {"missed": " (missed)", "ignored": " (crowd)", "wrong class": ""}
        if status == "wrong class":
            notes[status] = f" (taken for {names[int(found.classes[rivals[i]])]})"
        truth_labels.append(name + notes.get(status, ""))
    found_labels = []
    for i, status in enumerate(comparison.detected_status):
        notes = {"false": " (false)", "ignored": " (in crowd)", "wrong class": ""}
        if status == "wrong class":
            notes[status] = f" (is {names[int(truth.classes[comparison.partner[i]])]})"
        found_labels.append(f"{names[int(found.classes[i])]} {found.scores[i]:.0%}{notes.get(status, '')}")
    # a detection without an object of its own is drawn in the colour of an error
    shades = (truth.classes, found.classes) if color_by == "class" else (range(len(truth.classes)), comparison.partner)
    left = _draw(image, size, truth, comparison.truth_status, truth_labels, None, shades[0], fit)
    right = _draw(image, size, found, comparison.detected_status, found_labels, found.scores, shades[1], fit)
    return side_by_side(left, right, ("ground truth", title), width=fit[0] if fit is not None else 0)


def _draw(
    image: np.ndarray | Tensor,
    size: tuple[int, int],
    objects: Any,
    statuses: Sequence[Status],
    labels: Sequence[str],
    scores: np.ndarray | None,
    shades: Iterable[int],
    fit: tuple[int, int] | None,
) -> np.ndarray:
    instances = Instances(
        image_size=size,
        boxes=torch.as_tensor(np.asarray(objects.boxes), dtype=torch.float32).reshape(-1, 4),
        classes=torch.as_tensor(np.asarray(objects.classes), dtype=torch.int64),
        scores=None if scores is None else torch.as_tensor(scores, dtype=torch.float32),
        masks=_masks(objects.segmentations, size),
    )
    colors = [_color(status, int(shade)) for status, shade in zip(statuses, shades)]
    styles = [_STYLES.get(status, SOLID) for status in statuses]
    return draw_instances(image, instances, colors=colors, labels=labels, styles=styles, fit=fit)


def _color(status: Status, shade: int) -> Color:
    if status == "correct":
        return palette_color(shade)
    return _ERROR_COLORS.get(status, _IGNORED)


def _masks(segmentations: Sequence[Any], size: tuple[int, int]) -> Tensor | None:
    """N x H x W bool, or None if no object has a mask."""
    if all(s is None for s in segmentations):
        return None
    return torch.from_numpy(np.stack([decode_segmentation(s, size) for s in segmentations]))


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """H x W bool mask of polygons (K x 2 arrays or flat lists), an RLE, or nothing (all False).

    Raises:
        ValueError: if an RLE is malformed or of another size.
    """
    if segmentation is None:
        return np.zeros(size, dtype=bool)
    if isinstance(segmentation, Mapping) and list(segmentation["size"]) != list(size):
        raise ValueError(
            f"a mask of size {list(segmentation['size'])} is given for an image of size {list(size)} "
            "(height, width); the results are of images of another size"
        )
    return coco_mask.decode(segmentation_rle(segmentation, size)).astype(bool)


def legend(width: int, color_by: ColorBy = "class") -> np.ndarray:
    """A strip that explains the lines: height x width x 3 uint8."""
    size = 16
    entries: tuple[tuple[str, Color, tuple[int, ...]], ...] = (
        (f"correct (colour of its {'class' if color_by == 'class' else 'object'})", palette_color(0), SOLID),
        ("missed, or false detection", _ERROR_COLORS["missed"], DASHED),
        ("wrong class", _ERROR_COLORS["wrong class"], DOTTED),
        ("crowd: ignored", _IGNORED, SOLID),
    )
    font = load_font(size)
    strip = np.full((2 * size, width, 3), 32, dtype=np.uint8)
    x, texts = size // 2, []
    for text, color, style in entries:
        draw_box(strip, (x, size / 2, x + 3 * size, 1.5 * size), color, 2, style)
        texts.append((x + 3.5 * size, text))
        x += int(font.getlength(text)) + 6 * size
    canvas = Image.fromarray(strip)
    draw = ImageDraw.Draw(canvas)
    for left, text in texts:
        draw.text((left, size), text, font=font, fill=(255, 255, 255), anchor="lm")
    return np.array(canvas)
