"""Objects of a view: boxes, classes and masks at the transformed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask

from pe_dense.data.annotations import ImageAnnotations, Polygons
from pe_dense.data.errors import DataError
from pe_dense.data.geometry import View
from pe_dense.structures import Instances


@dataclass
class _Patch:
    """A mask inside a window of the view.

    Attributes:
        left, top: where the window begins.
        bitmap: h x w uint8, 0 or 1.
        box: XYXY around the mask, in the view.
    """

    left: int
    top: int
    bitmap: np.ndarray
    box: np.ndarray


def view_instances(
    annotations: ImageAnnotations, view: View, masks: bool = True, keep_crowd: bool = False
) -> Instances:
    """Map objects into a view and drop those that vanish.

    With masks, an object stays if at least one pixel of its mask is visible, and its box is recomputed from the visible
    mask; without, it stays if its clipped box measures at least one pixel each way.

    Args:
        annotations: in original coordinates.
        view: the map.
        masks: draw masks; every object must have one.
        keep_crowd: keep crowd regions (marked in ``crowd``), for drawing; training leaves them out.

    Returns:
        ``boxes``, ``classes``, ``crowd``, ``track_ids`` if they are known and, with ``masks``, ``masks`` N x H x W
        bool, of the view's output size.

    Raises:
        DataError: if an RLE does not have the image's size, naming the annotation.
    """
    boxes = view.boxes(annotations.boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    visible = (sides > 0).all(axis=1) if masks else (sides >= 1).all(axis=1)
    if not keep_crowd:
        visible &= ~annotations.crowd
    chosen = np.flatnonzero(visible)
    bitmaps: np.ndarray | None = None
    if masks:
        patches = {int(i): patch for i in chosen if (patch := _patch(annotations, int(i), view)) is not None}
        chosen = np.array(list(patches), dtype=np.int64)
        bitmaps = np.zeros((len(patches), *view.output_size), dtype=np.bool_)
        for slot, (i, patch) in zip(bitmaps, patches.items()):
            height, width = patch.bitmap.shape
            slot[patch.top : patch.top + height, patch.left : patch.left + width] = patch.bitmap
            boxes[i] = patch.box
    return Instances(
        image_size=view.output_size,
        boxes=torch.from_numpy(boxes[chosen].astype(np.float32)),
        classes=torch.from_numpy(annotations.classes[chosen]),
        masks=None if bitmaps is None else torch.from_numpy(bitmaps),
        crowd=torch.from_numpy(annotations.crowd[chosen]),
        track_ids=None if annotations.track_ids is None else torch.from_numpy(annotations.track_ids[chosen]),
    )


def _patch(annotations: ImageAnnotations, index: int, view: View) -> _Patch | None:
    segmentation = annotations.segmentations[index]
    if isinstance(segmentation, list):
        return _polygon_patch(segmentation, view)
    if segmentation is None:
        raise DataError(f"annotation id {annotations.ids[index]} has no mask; load the data set with masks=False")
    if tuple(segmentation["size"]) != view.source:
        raise DataError(
            f"annotation id {annotations.ids[index]} has a run-length encoding of size {segmentation['size']} but its "
            f"image is {list(view.source)}; encode masks at the image's size"
        )
    return _rle_patch(segmentation, view)


def _polygon_patch(polygons: Polygons, view: View) -> _Patch | None:
    """Rasterise at the view's size with COCO's own rule, only inside the visible part of the polygons' box."""
    parts = [view.points(part.astype(np.float64)) for part in polygons]
    corners = np.stack([np.min([p.min(axis=0) for p in parts], axis=0), np.max([p.max(axis=0) for p in parts], axis=0)])
    window = _window(corners, view)
    if window is None:
        return None
    left, top, width, height = window
    flat = [_on_grid(part - (left, top)).reshape(-1) for part in parts]
    runs = coco_mask.frPyObjects(flat, height, width)
    bitmap = coco_mask.decode(runs[0] if len(runs) == 1 else coco_mask.merge(runs))
    box = _bounding_box(bitmap.T)[[1, 0, 3, 2]]
    if box[2] == 0:
        return None
    box += [left, top, left, top]
    extent = np.clip(corners, 0, view.size[::-1])
    uncut = (extent == corners).all()
    # the polygon's own extent is more exact than whole pixels, for sides that are not cut away
    box = np.where(uncut | (np.abs(extent.reshape(-1) - box) < 1), extent.reshape(-1), box)
    return _Patch(left, top, bitmap, box)


def _on_grid(points: np.ndarray) -> np.ndarray:
    """Round to the fifths of a pixel that pycocotools works on.

    It rounds by adding one half and cutting the decimals off, which is wrong for negative numbers: an object would look
    different where it leaves the window.
    """
    fifths = np.floor(5 * points + 0.5)
    return np.where(fifths < 0, fifths - 0.6, fifths) / 5


def _rle_patch(rle: dict[str, Any], view: View) -> _Patch | None:
    """Resample a bitmap around its object: bilinear, then cut at one half."""
    bitmap = coco_mask.decode(rle)
    if view.rotation is not None:
        bitmap = view.rotation.pixels(bitmap, cv2.INTER_NEAREST, 0)
        view = view.unrotated
    y0, x0, y1, x1 = _bounding_box(bitmap.T).astype(int).tolist()
    x0, x1 = max(x0 - 1, view.left), min(x1 + 1, view.right)  # one pixel of background to interpolate with
    y0, y1 = max(y0 - 1, view.top), min(y1 + 1, view.bottom)
    if x0 >= x1 or y0 >= y1:
        return None
    corners = view.points(np.array([[x0, y0], [x1, y1]], dtype=np.float64))
    window = _window(np.sort(corners, axis=0), view)
    if window is None:
        return None
    left, top, width, height = window
    scale_y, scale_x = view.scale
    first_x, step_x = (left + 0.5) / scale_x, 1 / scale_x
    if view.mirrored:
        first_x, step_x = (view.size[1] - left - 0.5) / scale_x, -step_x
    first_x += view.left - x0 - 0.5
    first_y = (top + 0.5) / scale_y + view.top - y0 - 0.5
    to_source = np.array([[step_x, 0, first_x], [0, 1 / scale_y, first_y]])
    warped = cv2.warpAffine(
        np.ascontiguousarray(bitmap[y0:y1, x0:x1]) * np.uint8(255),
        to_source,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    shown = np.asarray(warped, dtype=np.uint8) >> 7
    box = _bounding_box(shown)
    return _Patch(left, top, shown, box + np.array([left, top, left, top])) if box[2] > 0 else None


def _window(corners: np.ndarray, view: View) -> tuple[int, int, int, int] | None:
    """Whole pixels around [[x0, y0], [x1, y1]] inside the view: (left, top, width, height), ``None`` if outside."""
    left, top = np.maximum(np.floor(corners[0]).astype(int) - 1, 0).tolist()
    right, bottom = np.minimum(np.ceil(corners[1]).astype(int) + 1, view.size[::-1]).tolist()
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def _bounding_box(bitmap: np.ndarray) -> np.ndarray:
    """XYXY around the non-zero pixels of a contiguous array, float64; zeros if there are none."""
    x, y, width, height = cv2.boundingRect(bitmap)
    return np.array([x, y, x + width, y + height], dtype=np.float64)
