"""The results of Hugging Face's detectors from our objects, and back. transformers itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pe_dense.interop.agreement import agreed_size, check_classes, classes_of, names_of
from pe_dense.structures import Categories, Instances
from pe_dense.structures.masks import bitmasks_of

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_RELATIVE = 1.5  # boxes relative to the image may reach a little beyond it


def to_huggingface(
    instances: Instances, categories: Categories | None = None, label2id: Mapping[str, int] | None = None
) -> dict[str, Tensor]:
    """What ``post_process_object_detection`` gives for one image: ``scores``, ``labels``, ``boxes`` (XYXY pixels).

    Args:
        instances: with classes and scores. Masks have no place in this result, see :func:`to_segmentation`.
        categories, label2id: both together give each class the label that the model's config has for its name;
            without them the labels are the classes.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: if classes or scores are not set, or a class has no label.
    """
    classes, scores = _needed(instances)
    return {"scores": scores, "labels": _labels(classes, categories, label2id), "boxes": instances.boxes}


def from_huggingface(
    result: Mapping[str, Any],
    image_size: tuple[int, int],
    categories: Categories | None = None,
    id2label: Mapping[int, str] | None = None,
) -> Instances:
    """Objects of one image from a result of ``post_process_object_detection``.

    Args:
        result: ``scores``, ``labels`` (numbers, or names as of the models with free text) and ``boxes``; some models
            add ``masks``, N x H x W or N x 1 x H x W.
        image_size: (height, width), as in ``target_sizes``.
        categories, id2label: both together give each label the class of its name in the model's config; without them
            the classes are the labels. Labels that are names need ``categories`` only.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: if the boxes are relative to the image, or a label is none of the categories.
    """
    boxes = torch.as_tensor(result["boxes"], dtype=torch.float32).reshape(-1, 4)
    if len(boxes) and boxes.abs().max() <= _RELATIVE and min(image_size) > 2:
        raise ValueError(
            "the boxes are relative to the image, from 0 to 1: pass target_sizes=[(height, width)] to "
            "post_process_object_detection"
        )
    masks = result.get("masks")
    if masks is not None:
        masks = torch.as_tensor(masks).reshape(-1, *masks.shape[-2:]) > 0
        agreed_size(image_size, masks.shape[1:])
    return Instances(
        (int(image_size[0]), int(image_size[1])),
        boxes,
        _classes(result["labels"], categories, id2label).to(boxes.device),
        torch.as_tensor(result["scores"], dtype=torch.float32),
        masks,
    )


def to_pipeline(instances: Instances, categories: Categories) -> list[dict[str, Any]]:
    """What the ``object-detection`` pipeline gives for one image, or ``image-segmentation`` where there are masks.

    Returns:
        For each object ``score``, ``label`` (its name) and ``box`` (``xmin`` ... in whole pixels, rounded to zero as
        in the pipeline); with masks also ``mask``, a PIL image of mode "L", 255 on the object.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: if classes or scores are not set, or the categories do not have a class.
    """
    classes, scores = _needed(instances)
    boxes = instances.boxes.int().tolist()
    found: list[dict[str, Any]] = [
        {"score": score, "label": name, "box": dict(zip(_CORNERS, box))}
        for score, name, box in zip(scores.tolist(), names_of(classes, categories), boxes)
    ]
    masks = _bitmasks(instances)
    if masks is not None:
        for row, mask in zip(found, masks):
            row["mask"] = Image.fromarray(mask.cpu().numpy().astype(np.uint8) * 255)
    return found


def from_pipeline(
    objects: Sequence[Mapping[str, Any]], categories: Categories, image_size: tuple[int, int] | None = None
) -> Instances:
    """Objects of one image from the ``object-detection`` or the ``image-segmentation`` pipeline.

    Args:
        objects: with ``label`` and ``box`` or ``mask``; boxes that are missing are the masks' extents.
        categories: the labels are looked up among their names.
        image_size: (height, width); needed unless there are masks.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: if the image's size is unknown, or a label is no category's name.
    """
    masks = None
    if objects and all(row.get("mask") is not None for row in objects):
        masks = torch.from_numpy(np.stack([np.asarray(row["mask"]) > 0 for row in objects]))
    size = agreed_size(image_size, None if masks is None else masks.shape[1:])
    if masks is not None and any(row.get("box") is None for row in objects):
        boxes = mask_extents(masks)
    else:
        boxes = torch.tensor([[float(row["box"][key]) for key in _CORNERS] for row in objects]).reshape(-1, 4)
    scores = [row.get("score") for row in objects]
    return Instances(
        size,
        boxes,
        classes_of([row["label"] for row in objects], categories),
        None if None in scores else torch.tensor(scores, dtype=torch.float32),
        masks,
    )


def to_segmentation(
    instances: Instances,
    binary_maps: bool = False,
    categories: Categories | None = None,
    label2id: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What ``post_process_instance_segmentation`` gives for one image: ``segmentation`` and ``segments_info``.

    Args:
        instances: with classes, scores and masks.
        binary_maps: ``False``: ``segmentation`` is the H x W int32 map of segment ids, -1 for none; where objects
            overlap, the one with the better score is kept, and objects that nothing is left of are left out. ``True``:
            it is N x H x W, and nothing is lost.
        categories, label2id: see :func:`to_huggingface`.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: if classes, scores or masks are not set, or a class has no label.
    """
    classes, scores = _needed(instances)
    masks = _bitmasks(instances)
    if masks is None:
        raise ValueError("these objects have no masks: use to_huggingface")
    labels = _labels(classes, categories, label2id).tolist()
    info = [{"id": i, "label_id": row[0], "score": row[1]} for i, row in enumerate(zip(labels, scores.tolist()))]
    if binary_maps:
        return {"segmentation": masks.int(), "segments_info": info}
    segmentation = torch.full(instances.image_size, -1, dtype=torch.int32, device=masks.device)
    for number in scores.argsort(stable=True).tolist():
        segmentation[masks[number]] = number
    visible = set(segmentation.unique().tolist())
    return {"segmentation": segmentation, "segments_info": [row for row in info if row["id"] in visible]}


def from_segmentation(
    result: Mapping[str, Any],
    image_size: tuple[int, int] | None = None,
    categories: Categories | None = None,
    id2label: Mapping[int, str] | None = None,
) -> Instances:
    """Objects of one image from a result of ``post_process_instance_segmentation``; their boxes are the masks' extents.

    Args:
        result: ``segmentation`` as a map of ids, as binary maps (``return_binary_maps``), or as run-length encodings
            (``return_coco_annotation``).
        image_size: (height, width); needed for run-length encodings, and where nothing was found.
        categories, id2label: see :func:`from_huggingface`.

    Raises:
        TypeError: for other categories than :class:`~pe_dense.structures.Categories`.
        ValueError: if the image's size is unknown, the parts do not fit together, or a label is none of the categories.
    """
    info, segmentation = result["segments_info"], result["segmentation"]
    if segmentation is None or isinstance(segmentation, list):
        size = agreed_size(image_size, None)
        masks = _from_runs(segmentation or [], len(info), size)
    else:
        grid = torch.as_tensor(segmentation)
        size = agreed_size(image_size, grid.shape[-2:])
        ids = torch.tensor([int(row["id"]) for row in info], device=grid.device)
        masks = grid == ids.view(-1, 1, 1) if grid.ndim == 2 else grid > 0
        if not info:
            masks = masks[:0].reshape(0, *size)
        if len(masks) != len(info):
            raise ValueError(f"there are {len(masks)} binary maps, but {len(info)} segments_info")
    return Instances(
        size,
        mask_extents(masks),
        _classes([int(row["label_id"]) for row in info], categories, id2label).to(masks.device),
        torch.tensor([float(row["score"]) for row in info], device=masks.device),
        masks,
    )


def mask_extents(masks: Tensor) -> Tensor:
    """N x 4 XYXY pixel edges of N x H x W masks; zeros for an empty mask."""
    edges = []
    for along in (masks.any(1), masks.any(2)):  # N x W, N x H
        side = along.shape[1]
        numbers = torch.arange(side, device=masks.device)
        edges.append((torch.where(along, numbers, side).amin(1), torch.where(along, numbers + 1, 0).amax(1)))
    (left, right), (top, bottom) = edges
    boxes = torch.stack([left, top, right, bottom], dim=1).float()
    return boxes * (right > 0)[:, None]


def _from_runs(encodings: Sequence[Sequence[int]], count: int, size: tuple[int, int]) -> Tensor:
    """N x H x W masks of runs (first pixel from 1, length, ...) that count along the rows, unlike COCO's."""
    if len(encodings) == count + 1:  # the first one is what belongs to no segment
        encodings = encodings[1:]
    if len(encodings) != count:
        raise ValueError(f"there are {len(encodings)} run-length encodings, but {count} segments_info")
    masks = np.zeros((count, size[0] * size[1]), dtype=bool)
    for mask, runs in zip(masks, encodings):
        for start, length in zip(runs[::2], runs[1::2]):
            if start - 1 + length > mask.size:
                raise ValueError(f"a run-length encoding reaches beyond the image of {size[0]} x {size[1]} pixels")
            mask[start - 1 : start - 1 + length] = True
    return torch.from_numpy(masks.reshape(count, *size))


def _needed(instances: Instances) -> tuple[Tensor, Tensor]:
    if instances.classes is None or instances.scores is None:
        raise ValueError("Hugging Face's results have a label and a score for each object: set classes and scores")
    return instances.classes, instances.scores


def _bitmasks(instances: Instances) -> Tensor | None:
    return None if instances.masks is None else bitmasks_of(instances.masks)


def _labels(classes: Tensor, categories: Categories | None, label2id: Mapping[str, int] | None) -> Tensor:
    if label2id is None:
        if categories is not None:
            check_classes(classes, categories)
        return classes
    if categories is None:
        raise ValueError("label2id needs the categories too, whose names it maps")
    names = names_of(classes, categories)
    missing = sorted(set(names) - set(label2id))
    if missing:
        raise ValueError(f"label2id has no label for {', '.join(missing)}; give that of a model with these classes")
    return torch.tensor([int(label2id[name]) for name in names], dtype=torch.int64, device=classes.device)


def _classes(labels: Any, categories: Categories | None, id2label: Mapping[int, str] | None) -> Tensor:
    if not isinstance(labels, Tensor) and any(isinstance(label, str) for label in labels):
        if categories is None:
            raise ValueError("the labels are names: give the categories to look them up in")
        return classes_of(labels, categories)
    numbers = torch.as_tensor(labels, dtype=torch.int64)
    if id2label is None:
        if categories is not None:
            check_classes(numbers, categories)
        return numbers
    if categories is None:
        raise ValueError("id2label needs the categories too, to look its names up in")
    missing = sorted({i for i in numbers.tolist() if i not in id2label})
    if missing:
        raise ValueError(f"id2label has no name for the labels {missing}; give that of the model's config")
    return classes_of([id2label[i] for i in numbers.tolist()], categories)
