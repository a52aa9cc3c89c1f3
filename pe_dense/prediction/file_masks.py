"""Masks of a COCO json in any of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pe_dense.evaluation.rle import rle_fault
from pe_dense.structures.masks import segmentation_rle


def compressed_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A mask as compressed RLE.

    Args:
        segmentation: polygons (flat lists of x and y, all of them together are the mask, drawn by COCO's own rule), an
            RLE with ``counts`` as text or as a list of runs, or nothing, which is an empty mask.
        size: (height, width) of the image.

    Raises:
        ValueError: says what is wrong with it, as the end of a sentence: "has size ...".
    """
    if not segmentation:
        segmentation = {"size": list(size), "counts": [size[0] * size[1]]}
    fault = _polygon_fault(segmentation) if isinstance(segmentation, list) else _rle_fault(segmentation, size)
    if fault is not None:
        raise ValueError(fault)
    return segmentation_rle(segmentation, size)


def _rle_fault(segmentation: Any, size: tuple[int, int]) -> str | None:
    if isinstance(segmentation, dict) and segmentation.get("size") != list(size):
        return f"has size {segmentation.get('size')} but its image is {list(size)} (height, width)"
    if isinstance(segmentation, dict) and isinstance(runs := segmentation.get("counts"), list):
        sound = all(isinstance(run, int) and run >= 0 for run in runs) and sum(runs) == size[0] * size[1]
        return None if sound else f"has runs that do not add up to height x width = {size[0] * size[1]}"
    return rle_fault(segmentation, size)


def _polygon_fault(polygons: Sequence[Any]) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "has a polygon that is not a list [x1, y1, x2, y2, ...] of three points or more"
        if not all(isinstance(v, int | float) for v in polygon) or not np.isfinite(polygon).all():
            return "has a polygon with something other than finite numbers"
    return None
