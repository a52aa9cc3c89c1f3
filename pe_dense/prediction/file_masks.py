"""Masks of a COCO json in any of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pe_dense.evaluation.rle import rle_fault


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
        return _from_runs([size[0] * size[1]], size)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, size)
    if isinstance(segmentation, dict) and segmentation.get("size") != list(size):
        raise ValueError(f"has size {segmentation.get('size')} but its image is {list(size)} (height, width)")
    if isinstance(segmentation, dict) and isinstance(runs := segmentation.get("counts"), list):
        if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != size[0] * size[1]:
            raise ValueError(f"has runs that do not add up to height x width = {size[0] * size[1]}")
        return _from_runs(runs, size)
    if (fault := rle_fault(segmentation, size)) is not None:
        raise ValueError(fault)
    return dict(segmentation)


def _from_runs(runs: list[int], size: tuple[int, int]) -> dict[str, Any]:
    rle: dict[str, Any] = coco_mask.frPyObjects({"size": list(size), "counts": runs}, *size)
    return rle


def _from_polygons(polygons: Sequence[Any], size: tuple[int, int]) -> dict[str, Any]:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("has a polygon that is not a list [x1, y1, x2, y2, ...] of three points or more")
        if not all(isinstance(v, int | float) for v in polygon) or not np.isfinite(polygon).all():
            raise ValueError("has a polygon with something other than finite numbers")
    rle: dict[str, Any] = coco_mask.merge(coco_mask.frPyObjects(list(polygons), *size))
    return rle
