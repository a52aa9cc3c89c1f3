"""Parsing and checking a COCO json."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

import numpy as np

from pe_dense.data.annotations import AnnotationTable
from pe_dense.data.coco_rows import UNREADABLE, AnnotationRows
from pe_dense.data.coco_segmentations import SegmentationArrays
from pe_dense.data.errors import DataError
from pe_dense.data.json_pieces import load_in_pieces, load_json
from pe_dense.data.lvis_json import check_searched_classes, image_counts, lvis_file_name
from pe_dense.structures import Categories
from pe_dense.structures.wording import counted

BAD_BOX = "box of zero or negative size"
NOT_FINITE = "box with NaN or infinite numbers"
OUTSIDE = "box wholly outside the image"
_MANY_BEYOND, _NEARLY_ALL = 0.1, 0.95


def parse_coco(path: Path) -> AnnotationTable:
    """Read a COCO json into flat arrays, checking everything that training relies on.

    Boxes are clipped to the image; objects whose box is empty, not finite or wholly outside and polygons with fewer
    than three points are left out and counted in ``skipped``.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if the file is not json or not such a json that its objects can be trusted.
    """
    if not path.is_file():
        raise FileNotFoundError(f"annotation file {path} does not exist; set json_file to a COCO-format json")
    with _no_garbage_collection():
        content, rows = _read(path)
        return tabulate(content, rows, path, lambda: load_json(path)["annotations"])


def tabulate(
    content: dict[str, Any], rows: AnnotationRows, source: Path, again: Callable[[], list[Any]]
) -> AnnotationTable:
    """What a COCO json holds as flat arrays, checked as :func:`parse_coco` says.

    Args:
        content: dictionary with the lists ``images`` and ``categories``.
        rows: its annotations; their segmentations are used up.
        source: where it is from, for messages.
        again: gives the annotations as in the json, to name what is wrong with them.

    Raises:
        DataError: if the objects cannot be trusted.
    """
    categories = _categories(content["categories"], source)
    arrays, index_of = _images(content["images"], source)
    check_searched_classes(content["images"], categories, source)
    arrays["image_counts"] = image_counts(content["categories"], source)
    table, kept = _objects(rows, index_of, categories, arrays["image_sizes"], source, again)
    skipped, doubts = table.pop("skipped"), table.pop("doubts")
    arrays.update(table)
    masks = SegmentationArrays(source, arrays["image_sizes"])
    for row, (number, image) in enumerate(zip(kept.tolist(), arrays.pop("image_of").tolist())):
        masks.add(row, image, int(arrays["ids"][row]), rows.segmentations[number])
        rows.segmentations[number] = None  # its memory is free for the arrays
    arrays.update(masks.finish(arrays["ids"]))
    return AnnotationTable(source, categories, {**skipped, **masks.skipped}, arrays, doubts)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of new containers would start the collector again and again; none of them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(path: Path) -> tuple[dict[str, Any], AnnotationRows]:
    """What the json has beside its annotations, and these."""
    rows = AnnotationRows()
    content: Any = load_in_pieces(path, "annotations", rows.add)
    if content is not None:
        _check_top_level(content, path)
        return content, rows
    content = load_json(path)
    _check_top_level(content, path)
    rows = AnnotationRows()
    rows.add(content.pop("annotations"))
    return content, rows


def _check_top_level(content: Any, path: Path) -> None:
    if isinstance(content, list):
        raise DataError(f"{path} is a list, not a COCO data set; it looks like a results file, give the ground truth")
    for field in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise DataError(f"{path} has no list '{field}'; a COCO json has images, annotations and categories")


def _categories(rows: list[Any], path: Path) -> Categories:
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("id"), int):
            raise DataError(
                f"{path}: category number {number} has no integer 'id'; give each category an id and a name"
            )
    if not rows:
        raise DataError(f"{path} has no categories; give each class an entry with an id and a name")
    try:
        return Categories.from_json(rows)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _images(rows: list[Any], path: Path) -> tuple[dict[str, np.ndarray], dict[int, int]]:
    index_of: dict[int, int] = {}
    sizes = np.zeros((len(rows), 2), dtype=np.int32)
    names: list[bytes] = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("id"), int) or isinstance(row["id"], bool):
            raise DataError(f"{path}: image number {number} has no integer 'id'; give each image its own")
        if index_of.setdefault(row["id"], number) != number:
            raise DataError(f"{path}: image id {row['id']} appears more than once; give each image its own")
        names.append(_file_name(row, path))
        size = row.get("height"), row.get("width")
        if size != (None, None):
            if not all(isinstance(s, int) and 0 < s < 2**31 for s in size):
                raise DataError(
                    f"{path}: image id {row['id']} has height, width {size}; write both in pixels or neither"
                )
            sizes[number] = np.array(size)
    arrays: dict[str, np.ndarray] = {
        "image_ids": np.fromiter(index_of, dtype=np.int64, count=len(rows)),
        "image_sizes": sizes,
        "names": np.frombuffer(b"".join(names), dtype=np.uint8),
        "name_offsets": np.cumsum([0, *map(len, names)], dtype=np.int64),
    }
    return arrays, index_of


def _file_name(row: dict[str, Any], path: Path) -> bytes:
    name = lvis_file_name(row) or row.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{path}: image id {row['id']} has no 'file_name'; write its path below the image root")
    leaves = name.startswith(("/", "\\")) or ".." in name or ":" in name
    if leaves and (
        PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts
    ):
        raise DataError(
            f"{path}: file_name '{name}' of image id {row['id']} leaves the image root; write a path below the root"
        )
    return name.encode()


def _places(ids: np.ndarray, known: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where each id stands among those known.

    Raises:
        KeyError: for one that is not there.
    """
    keys = np.asarray(known, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    ranks = np.searchsorted(keys, ids, sorter=order)
    if (ranks == len(keys)).any() or (keys[order[ranks]] != ids).any():
        raise KeyError("an id that is not known")
    return order[ranks]


def _objects(
    rows: AnnotationRows,
    index_of: dict[int, int],
    categories: Categories,
    sizes: np.ndarray,
    path: Path,
    again: Callable[[], list[Any]],
) -> tuple[dict[str, Any], np.ndarray]:
    """Arrays of the objects that stay, in image order, and their numbers in the json's list."""
    try:
        if rows.error is not None:
            raise rows.error
        image_ids, class_ids, boxes, ids, crowd, fake = rows.columns()
        image = _places(image_ids, list(index_of))
        classes = _places(class_ids, categories.ids).astype(np.int32)
    except UNREADABLE as error:
        _explain(again(), index_of, categories, path, error)
    sizes_of = sizes[image] if len(image) else np.zeros((0, 2), dtype=np.int32)
    doubts = _doubts(boxes, sizes_of, ids)
    boxes, faults = _clip_boxes(boxes, sizes_of)
    skipped = {why: (int(bad.sum()), ids[bad][:3].tolist()) for why, bad in faults.items() if bad.any()}
    kept = np.flatnonzero(~np.any(list(faults.values()), axis=0))
    kept = kept[np.argsort(image[kept], kind="stable")]
    table: dict[str, Any] = {
        "image_offsets": np.searchsorted(image[kept], np.arange(len(sizes) + 1)),
        "image_of": image[kept],
        "ids": ids[kept],
        "boxes": boxes[kept].astype(np.float32),
        "classes": classes[kept],
        "crowd": crowd[kept],
        "fake": fake[kept],
        "skipped": skipped,
        "doubts": doubts,
    }
    return table, kept


def _doubts(boxes: np.ndarray, sizes: np.ndarray, ids: np.ndarray) -> str:
    """Whether the boxes look like x0, y0, x1, y1 instead of x, y, width, height; empty if they do not.

    Read as corners nearly all lie within their image, which small boxes at the right or bottom of true ones do not;
    read as sizes, many reach beyond it. One pixel too much is common and no sign.
    """
    known = (sizes > 0).all(axis=1)
    limits = sizes[:, ::-1] + 1
    corners = known & (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= limits).all(axis=1)
    beyond = known & (boxes[:, :2] + boxes[:, 2:] > limits).any(axis=1)
    if beyond.sum() <= _MANY_BEYOND * known.sum() or corners.sum() < _NEARLY_ALL * known.sum():
        return ""
    first = int(beyond.argmax())
    height, width = sizes[first]
    return (
        f"{counted(int(beyond.sum()), 'box')} of {known.sum()} reach beyond their image, such as bbox "
        f"{boxes[first].tolist()} of annotation {ids[first]} in an image {width} pixels wide and {height} high; they "
        "look like corners x0, y0, x1, y1: write x, y, width, height"
    )


def _clip_boxes(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """XYWH to XYXY, clipped where the image's size is known; and which are useless, by reason."""
    finite = np.isfinite(boxes).all(axis=1)
    boxes = np.where(finite[:, None], boxes, 0)
    empty = finite & (boxes[:, 2:] <= 0).any(axis=1)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    limits = np.where(sizes > 0, sizes, np.inf)[:, [1, 0, 1, 0]]
    clipped = np.clip(corners, 0, limits)
    outside = finite & ~empty & (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    return clipped, {NOT_FINITE: ~finite, BAD_BOX: empty, OUTSIDE: outside}


def _explain(
    rows: list[Any], index_of: dict[int, int], categories: Categories, path: Path, error: Exception
) -> NoReturn:
    """Find the first annotation that could not be read and say what is wrong with it."""
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path}: annotation number {number} is not an object") from None
        name = f"{path}: annotation id {row['id']}" if "id" in row else f"{path}: annotation number {number}"
        for field in ("image_id", "category_id", "bbox"):
            if field not in row:
                raise DataError(f"{name} has no '{field}'; add it or remove the annotation") from None
        _explain_values(row, name, index_of, categories)
    raise DataError(f"{path}: annotations cannot be read: {error}") from error


def _explain_values(row: dict[str, Any], name: str, index_of: dict[int, int], categories: Categories) -> None:
    for field, known in (("image_id", index_of), ("category_id", categories.contiguous)):
        value = row[field]
        if not isinstance(value, int) or value not in known:
            where = "images" if field == "image_id" else "categories"
            raise DataError(
                f"{name} has {field} {value!r}, which is not in '{where}'; add it there or remove it"
            ) from None
    try:
        numbers = np.array(row["bbox"], dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape != (4,):
        raise DataError(f"{name} has bbox {row['bbox']!r}; write four numbers: x, y, width, height in pixels") from None
    if not isinstance(row.get("id", 0), int):
        raise DataError(f"{name} has an id that is not an integer; number the annotations") from None
    if row.get("iscrowd", 0) not in (0, 1):
        raise DataError(f"{name} has iscrowd {row['iscrowd']!r}; write 0 or 1") from None
