"""What an LVIS json (arXiv 1908.03195, section 2) says beyond a COCO json: the classes each image was searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pe_dense.evaluation.json_file import read_json
from pe_dense.structures import SEARCHED_LISTS, Categories

FREQUENCIES = ("r", "c", "f")
_REMEDY = "LVIS's protocol needs it; take a json of LVIS, or evaluate by COCO's protocol (CocoEvaluator)"


def is_lvis(json_file: str | Path) -> bool:
    """Whether a json has what LVIS's protocol needs beyond COCO's.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not valid json.
    """
    data = read_json(json_file, "ground truth")
    rows = [data.get(key) for key in ("images", "categories")] if isinstance(data, dict) else [None]
    return all(isinstance(r, list) and r and all(isinstance(x, dict) for x in r) for r in rows) and not lacking(*rows)


def lacking(images: Sequence[Mapping[str, Any]], categories: Sequence[Mapping[str, Any]]) -> str:
    """What makes a json unfit for LVIS's protocol; empty if nothing does."""
    for image in images:
        for key in SEARCHED_LISTS:
            if not isinstance(image.get(key), list):
                return f"image id {image.get('id')} has no list '{key}'; {_REMEDY}"
    for category in categories:
        if category.get("frequency") not in FREQUENCIES:
            return f"category id {category.get('id')} has no 'frequency' of r, c or f; {_REMEDY}"
    return ""


def searched_classes(
    images: Sequence[Mapping[str, Any]], categories: Categories, path: Path
) -> dict[int, dict[str, list[int]]]:
    """Of each image that tells, by its id: the classes of :data:`SEARCHED_LISTS`, numbered 1, 2, ... by ascending id.

    Raises:
        ValueError: naming the image with a class that the json does not have.
    """
    found: dict[int, dict[str, list[int]]] = {}
    for image in images:
        for key in SEARCHED_LISTS:
            ids = image.get(key)
            if not isinstance(ids, list):
                continue
            unknown = categories.unknown(ids)
            if unknown:
                raise ValueError(
                    f"ground truth {path}: image id {image['id']} has {unknown[0]!r} in '{key}', which is not in "
                    "'categories'; add it there or remove it"
                )
            found.setdefault(image["id"], {})[key] = [categories.contiguous[i] + 1 for i in ids]
    return found
