"""What a loader feeds to a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from pe_dense.structures.wording import counted
from pe_dense.visualization.canvas import as_rgb, fit_into, save_image
from pe_dense.visualization.dense import depth_to_rgb, overlay_sem_seg
from pe_dense.visualization.instances import ColorBy, draw_instances
from pe_dense.visualization.legends import by_frequency, class_strip
from pe_dense.visualization.sheets import cell_size, contact_sheet


def draw_sample(
    sample: Mapping[str, Any],
    names: Sequence[str] | None = None,
    width: int = 480,
    color_by: ColorBy = "class",
) -> list[np.ndarray]:
    """Pictures of one sample: the image with its instances, then depth and semantic labels if it has them.

    Args:
        sample: as a loader yields it.
        names: class names by contiguous index, of the instances.
        width: of the image with its instances, as long as that does not make it very high.
        color_by: what has a colour of its own.
    """
    image, instances = sample["image"], sample.get("instances")
    if instances is None:
        pictures = [fit_into(as_rgb(image), *cell_size(width))[0]]
    else:
        pictures = [draw_instances(image, instances, names, color_by=color_by, fit=cell_size(width))]
    if sample.get("depth") is not None:
        pictures.append(depth_to_rgb(sample["depth"]))
    if sample.get("sem_seg") is not None:
        pictures.append(overlay_sem_seg(image, sample["sem_seg"], legend=False))
    return pictures


def visualize_batches(
    batches: Iterable[Sequence[Mapping[str, Any]]],
    output: str | Path,
    names: Sequence[str] | None = None,
    num: int = 16,
    cell: int = 480,
    color_by: ColorBy = "class",
    label_names: Sequence[str] | None = None,
) -> int:
    """Draw the first samples that a loader yields on one contact sheet, the colours of semantic labels named below it.

    Args:
        batches: lists of samples.
        output: picture file.
        names: class names by contiguous index, of the instances.
        num: how many samples; fewer if the loader ends before.
        cell: width of each picture.
        color_by: "class" or "instance": what has a colour of its own.
        label_names: class names of the semantic labels.

    Returns:
        Number of samples drawn.

    Raises:
        ValueError: if the loader yields nothing or ``num`` is not positive.
    """
    if num < 1:
        raise ValueError(f"visualize_batches: num is {num}; it must be at least 1")
    pictures, titles, count, pixels = [], [], 0, np.zeros(256, dtype=np.int64)
    for sample in islice(chain.from_iterable(batches), num):
        count += 1
        height, width = sample["image"].shape[-2:]
        if sample.get("sem_seg") is not None:
            pixels += np.bincount(np.asarray(sample["sem_seg"]).ravel(), minlength=256)
        for picture in draw_sample(sample, names, cell, color_by):
            pictures.append(picture)
            objects = f", {counted(len(sample['instances']), 'object')}" if sample.get("instances") is not None else ""
            titles.append(f"{Path(sample['file_name']).name}: {width}x{height}{objects}")
    sheet = contact_sheet(pictures, titles, cell=cell)
    if pixels.any():
        sheet = np.concatenate([sheet, class_strip(by_frequency(pixels), label_names, sheet.shape[1], {}, size=16)])
    save_image(output, sheet)
    return count
