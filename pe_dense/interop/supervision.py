"""``supervision.Detections`` from our objects and tracks, and back.

Nothing else of pe_dense imports supervision.

Raises:
    ImportError: if supervision is not there, or cannot be imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from pe_dense.interop.agreement import agreed_size, check_categories, check_classes, classes_of, names_of
from pe_dense.structures import Categories, Instances, Tracks, encode_rle
from pe_dense.structures.masks import bitmasks_of, segmentation_rle

try:
    import supervision as sv
except ImportError as error:
    if error.name == "supervision":
        raise ImportError(
            "pe_dense.interop.supervision needs the package supervision, which is not installed in this environment: "
            "pip install supervision"
        ) from None
    raise ImportError(
        f"supervision is installed but cannot be imported ({error}): install what it misses, or a version of it that "
        "fits this environment"
    ) from error

CLASS_NAME = "class_name"  # where supervision's annotators look for names
CROWD = "iscrowd"


def to_supervision(instances: Instances, categories: Categories | None = None) -> sv.Detections:
    """Objects of one image as supervision stores them.

    Args:
        instances: fields that are not set stay unset there. Masks become N x H x W bool arrays (``to_compact_masks``
            makes them small); ``crowd`` becomes ``data["iscrowd"]``, where supervision's metrics look for it.
        categories: adds ``data["class_name"]``, which its annotators write.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: for a class that the categories do not have.
    """
    masks = None if instances.masks is None else bitmasks_of(instances.masks)
    data: dict[str, Any] = {}
    if categories is not None and instances.classes is not None:
        data[CLASS_NAME] = np.array(names_of(instances.classes, categories), dtype=str)
    if instances.crowd is not None:
        data[CROWD] = _array(instances.crowd)
    return sv.Detections(
        xyxy=np.array(instances.boxes.detach().cpu()),
        mask=_array(masks),
        confidence=_array(instances.scores),
        class_id=_array(instances.classes),
        tracker_id=_array(instances.track_ids),
        data=data,
    )


def from_supervision(
    detections: sv.Detections, image_size: tuple[int, int] | None = None, categories: Categories | None = None
) -> Instances:
    """Objects of one image, of our kind, on the CPU. Their masks are an N x H x W bool tensor.

    Args:
        detections: data that pe_dense has no field for is left out.
        image_size: (height, width); needed unless there are masks.
        categories: the classes are then those that ``data["class_name"]`` names, where it is set; without it, or
            without categories, they are ``class_id`` as it is.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: if the image's size is unknown, or a class is none of the categories.
    """
    mask, names = detections.mask, detections.data.get(CLASS_NAME)
    size = agreed_size(image_size, None if mask is None else mask.shape[1:])
    classes = _tensor(detections.class_id, torch.int64)
    if categories is not None and names is not None:
        classes = classes_of(names, categories)
    elif categories is not None and classes is not None:
        check_classes(classes, categories)
    return Instances(
        size,
        torch.from_numpy(np.array(detections.xyxy, dtype=np.float32).reshape(-1, 4)),
        classes,
        _tensor(detections.confidence, torch.float32),
        _tensor(mask, torch.bool),
        _tensor(detections.data.get(CROWD), torch.bool),
        _tensor(detections.tracker_id, torch.int64),
    )


def tracks_to_supervision(
    tracks: Tracks, categories: Categories | None = None, num_frames: int | None = None
) -> Iterator[sv.Detections]:
    """Frame by frame, from frame 0 on, the objects of a video: ``tracker_id`` is the track, -1 for none.

    Args:
        tracks: ``class_id`` is the class number of the data set. Masks are decoded when their frame's turn has come.
        categories: adds ``data["class_name"]``.
        num_frames: of the video; ``None`` ends with the last object.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: for a class that the categories do not have, or objects after the last frame.
    """
    count = tracks.num_frames if num_frames is None else num_frames
    if tracks.num_frames > count:
        raise ValueError(f"num_frames is {count}, but there are objects in frame {tracks.num_frames - 1}")
    if categories is not None:
        check_categories(categories)
        if unknown := categories.unknown(np.unique(tracks.classes).tolist()):
            raise ValueError(
                f"classes {unknown} of the tracks are no category's id; give the categories of their data set"
            )
    return _frames(tracks.sorted(), categories, count)


def _frames(tracks: Tracks, categories: Categories | None, count: int) -> Iterator[sv.Detections]:
    offsets = tracks.offsets(count)
    for start, stop in pairwise(offsets.tolist()):
        rows = tracks[start:stop]
        data: dict[str, Any] = {}
        if categories is not None:
            names = [categories.names[categories.contiguous[i]] for i in rows.classes.tolist()]
            data[CLASS_NAME] = np.array(names, dtype=str)
        masks = None
        if rows.masks is not None and len(rows):
            encoded = [segmentation_rle(rle, tuple(rle["size"])) for rle in rows.masks]
            masks = np.ascontiguousarray(coco_mask.decode(encoded).transpose(2, 0, 1)).astype(bool)
        yield sv.Detections(
            xyxy=rows.boxes, mask=masks, confidence=rows.scores, class_id=rows.classes, tracker_id=rows.ids, data=data
        )


def tracks_from_supervision(frames: Iterable[sv.Detections]) -> Tracks:
    """Objects of a video from the detections of each of its frames, the first being frame 0.

    What a frame's detections do not have takes the values of :meth:`~pe_dense.structures.Tracks.create`: no track,
    score 1, class 1. Masks are kept, as run-length encodings, if all frames with objects have them.
    """
    parts = []
    for frame, found in enumerate(frames):
        if len(found):
            parts.append(
                Tracks.create(
                    np.full(len(found), frame),
                    found.xyxy,
                    ids=found.tracker_id,
                    scores=found.confidence,
                    classes=found.class_id,
                    masks=None if found.mask is None else [encode_rle(mask) for mask in found.mask],
                )
            )
    return Tracks.cat(parts) if parts else Tracks.empty()


def _array(values: Tensor | None) -> np.ndarray | None:
    return None if values is None else np.array(values.detach().cpu())


def _tensor(values: Any, dtype: torch.dtype) -> Tensor | None:
    return None if values is None else torch.from_numpy(np.array(values)).to(dtype)
