"""What an LVIS json (v0.5, v1) has beyond a COCO json (arXiv 1908.03195).

Its images are COCO's, found below a folder with ``train2017`` and ``val2017``; each names the classes that it was
searched for without result (``neg_category_ids``) and those labelled only in part (``not_exhaustive_category_ids``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.structures import SEARCHED_LISTS, Categories

_OLD_NAME = "COCO_"  # of 2014, with the part's name before the 12 digits; the files of 2017 have the digits alone
_OLD_NAME_END = len("000000000000.jpg")


def lvis_file_name(row: Mapping[str, Any]) -> str | None:
    """Where the image of an LVIS json lies below COCO's folder; ``None`` if it is not one.

    It is ``train2017/000000000009.jpg`` by the end of ``coco_url``, which the version 1 json has instead of a
    ``file_name``; without ``coco_url``, the name of 2017 that belongs to a ``file_name`` of 2014.
    """
    name, url = row.get("file_name"), row.get("coco_url")
    if isinstance(url, str) and (SEARCHED_LISTS[0] in row or not name):
        return "/".join(url.split("/")[-2:])
    if SEARCHED_LISTS[0] in row and isinstance(name, str) and name.startswith(_OLD_NAME):
        return name[-_OLD_NAME_END:]
    return None


def check_searched_classes(rows: Sequence[Mapping[str, Any]], categories: Categories, path: Path) -> None:
    """Make sure that images name only classes that the json has.

    Raises:
        DataError: naming the image and the class.
    """
    for row in rows:
        for key in SEARCHED_LISTS:
            ids = row.get(key, [])
            if not isinstance(ids, list):
                raise DataError(f"{path}: image id {row['id']} has {key} {ids!r}; write a list of category ids")
            unknown = categories.unknown(ids)
            if unknown:
                raise DataError(
                    f"{path}: image id {row['id']} has {unknown[0]!r} in {key}, which is not in 'categories'; add it "
                    "there or remove it"
                )


def image_counts(rows: Sequence[Mapping[str, Any]], path: Path) -> np.ndarray:
    """K int64: ``image_count`` of each category, by ascending id; none if not all have one.

    Raises:
        DataError: naming the category whose number is none.
    """
    ordered = sorted(rows, key=lambda row: int(row["id"]))
    if not all("image_count" in row for row in ordered):
        return np.zeros(0, dtype=np.int64)
    for row in ordered:
        count = row["image_count"]
        if not isinstance(count, int) or count < 0:
            raise DataError(f"{path}: category id {row['id']} has image_count {count!r}; write a number of images")
    return np.array([row["image_count"] for row in ordered], dtype=np.int64)
