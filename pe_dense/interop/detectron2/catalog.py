"""A data set that is registered with detectron2, for our loaders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from pe_dense.data import CocoDataset, DataError
from pe_dense.data.coco_json import tabulate
from pe_dense.data.coco_rows import AnnotationRows
from pe_dense.interop.detectron2.metadata import from_metadata
from pe_dense.structures import Categories


class CatalogDataset(CocoDataset):
    """Images and objects of an entry of detectron2's ``DatasetCatalog``, as of a COCO json.

    Boxes, polygons, run-length encodings and crowd regions are read and checked as those of a json, and held in the
    same shared arrays. Image ids that are not numbers become 0, 1, ... Keypoints and panoptic or semantic files are not
    read.

    Args:
        name: of the entry; what is asked for must be registered in each process that builds the data set.
        skip_empty, masks: see :class:`CocoDataset`.

    Raises:
        DataError: if there is no such entry, or something in it is wrong, naming the image; and see
            :class:`CocoDataset`.
        ValueError: if the metadata does not tell the classes, see :func:`from_metadata`.
    """

    _remedy = "correct the file_name that the registered function gives them, or register the data set without them"

    def __init__(self, name: str, skip_empty: bool = False, masks: bool | None = None) -> None:
        if name not in DatasetCatalog:
            raise DataError(
                f"detectron2 has no data set '{name}'; register it before it is asked for. Registered are "
                f"{', '.join(DatasetCatalog.list()) or 'none'}"
            )
        self.json_file = Path(f"detectron2:{name}")  # what it is called in messages
        records = DatasetCatalog.get(name)
        categories = from_metadata(MetadataCatalog.get(name))  # which reading may have written
        files = [_file(record, name) for record in records]
        self.image_root = Path(os.path.commonpath([os.path.dirname(f) for f in files]) if files else os.curdir)
        rows = _image_rows(records, [os.path.relpath(f, self.image_root) for f in files])
        annotations = _annotation_rows(records, rows, categories, name)
        content = {"images": rows, "categories": categories.to_json()}
        taken = AnnotationRows()
        taken.add(annotations)
        self._use(tabulate(content, taken, self.json_file, lambda: annotations), skip_empty, masks)

    @cached_property
    def content_sha256(self) -> str:
        """Hash of all images' names and objects, by which a resumed run knows whether it has the same data."""
        digest = hashlib.sha256()
        for name, array in sorted(self.table.arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def _file(record: Any, name: str) -> str:
    if not isinstance(record, Mapping) or not record.get("file_name"):
        raise DataError(f"detectron2's data set '{name}' has an image without a 'file_name'; give each image its own")
    return os.path.abspath(os.fspath(record["file_name"]))


def _image_rows(records: Sequence[Mapping[str, Any]], files: Sequence[str]) -> list[dict[str, Any]]:
    """The ``images`` of a COCO json."""
    ids = [_whole(record.get("image_id")) for record in records]
    if not all(isinstance(image_id, int) for image_id in ids):
        ids = list(range(len(ids)))
    return [
        {"id": i, "file_name": file, "height": _whole(r.get("height")), "width": _whole(r.get("width"))}
        for i, r, file in zip(ids, records, files)
    ]


def _annotation_rows(
    records: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], categories: Categories, name: str
) -> list[dict[str, Any]]:
    """The ``annotations`` of a COCO json."""
    found = []
    for record, row in zip(records, rows):
        for annotation in record.get("annotations", ()):
            try:
                found.append(_annotation_row(annotation, row["id"], categories))
            except (KeyError, ValueError, TypeError) as error:
                what = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise DataError(
                    f"detectron2's data set '{name}', image {record['file_name']}: an annotation has {what}; correct "
                    "it or leave it out"
                ) from None
    return found


def _annotation_row(annotation: Mapping[str, Any], image_id: int, categories: Categories) -> dict[str, Any]:
    """An annotation of a COCO json.

    Raises:
        KeyError, ValueError: if that cannot be made of it; the message goes on "an annotation has ".
    """
    index = _whole(annotation["category_id"])
    if not isinstance(index, int) or not 0 <= index < len(categories):
        raise ValueError(f"category_id {index!r}, which is no class index from 0 to {len(categories) - 1}")
    return {
        "image_id": image_id,
        "category_id": categories.ids[index],
        "bbox": _corner_and_size(annotation["bbox"], annotation["bbox_mode"]),
        "iscrowd": _whole(annotation.get("iscrowd", 0)),
        "segmentation": _segmentation(annotation.get("segmentation")),
    }


def _corner_and_size(box: Any, mode: int) -> list[float]:
    """x, y, width, height."""
    numbers = [float(number) for number in box]
    if mode == BoxMode.XYWH_ABS and len(numbers) == 4:
        return numbers
    if mode == BoxMode.XYXY_ABS and len(numbers) == 4:
        x0, y0, x1, y1 = numbers
        return [x0, y0, x1 - x0, y1 - y0]
    if mode not in (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS):
        raise ValueError(f"bbox_mode {BoxMode(mode).name}: write XYWH_ABS or XYXY_ABS")
    raise ValueError(f"a bbox of {len(numbers)} numbers instead of 4")


def _segmentation(segmentation: Any) -> Any:
    """Polygons as flat lists; run lengths as text, or as lists."""
    if isinstance(segmentation, Mapping):
        counts = segmentation.get("counts")
        size = [_whole(side) for side in segmentation.get("size", ())]
        return {"size": size, "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
    if isinstance(segmentation, (list, tuple)):
        return [np.asarray(part, dtype=np.float64).ravel().tolist() for part in segmentation]
    if segmentation is not None:
        raise ValueError(f"a segmentation of type {type(segmentation).__name__} instead of polygons or run lengths")
    return None


def _whole(value: Any) -> Any:
    """NumPy's integers as Python's."""
    return int(value) if isinstance(value, np.integer) else value
