"""Writing predicted depth and labels as files, with an index that says what they mean."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import orjson

from pe_dense.evaluation.dense import DenseData

INDEX_NAME = "predictions.json"
_MOST = 65535


class DenseResultsWriter:
    """Writes one PNG per image of a data set, named and arranged like the images, and the index (:func:`write_index`).

    Args:
        folder: is made if need be.
        dataset: names the images.
    """

    def __init__(self, folder: Path, dataset: DenseData) -> None:
        self.folder = folder
        self._dataset = dataset
        self._names = _png_names([dataset.file_name(i) for i in range(len(dataset))])

    def add_depth(self, image_id: int, depth: np.ndarray, max_depth: float | None) -> dict[str, Any]:
        """Write H x W depth and return its row of the index; see :func:`write_depth`."""
        return {**self._row(image_id), **write_depth(self.folder / self._names[image_id], depth, max_depth)}

    def add_labels(self, image_id: int, labels: np.ndarray) -> dict[str, Any]:
        """Write H x W class indices and return the row of the index."""
        write_labels(self.folder / self._names[image_id], labels)
        return self._row(image_id)

    def finish(self, task: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
        """Write the index (in one process, when all have written their images)."""
        write_index(self.folder, task, rows, **facts)

    def _row(self, image_id: int) -> dict[str, Any]:
        return {"image_id": image_id, "file_name": self._dataset.file_name(image_id), "file": self._names[image_id]}


def write_depth(path: Path, depth: np.ndarray, max_depth: float | None) -> dict[str, float]:
    """Write H x W depth as a 16-bit PNG, or as float32 if the path ends in ``.npy``.

    Args:
        path: of the file; its folder is made if need be.
        depth: metres, or any unit.
        max_depth: metres; the PNG's scale then is the customary 1000 units per metre, or 256 if that does not reach
            ``max_depth``. None for relative depth, whose range is spread over the 16 bits.

    Returns:
        ``scale`` and ``offset`` of a PNG: a value stands for ``value / scale + offset``, and 0 for what is not finite.

    Raises:
        OSError: if the file cannot be written.
    """
    if path.suffix == ".npy":
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, depth.astype(np.float32))
        return {}
    finite = np.isfinite(depth)
    if max_depth is not None:
        scale, offset = (1000.0 if 1000 * max_depth <= _MOST else 256.0), 0.0
    else:
        low, high = (float(depth[finite].min()), float(depth[finite].max())) if finite.any() else (0.0, 1.0)
        scale = (_MOST - 1) / max(high - low, 1e-12)
        offset = low - 1 / scale
    units = np.clip(np.round((np.where(finite, depth, 0.0) - offset) * scale), 1, _MOST).astype(np.uint16)
    units[~finite] = 0
    _write_png(path, units)
    return {"scale": scale, "offset": offset}


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Write H x W class indices as an 8-bit PNG; its folder is made if need be.

    Raises:
        OSError: if the file cannot be written.
    """
    _write_png(path, labels.astype(np.uint8))


def write_index(folder: Path, task: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> Path:
    """Write ``predictions.json``, which says what the maps in a folder are, and return its path.

    It holds ``task`` ("depth" or "sem_seg"), the facts (such as ``classes`` of sem_seg) and ``images``, each with
    ``file_name`` and ``file``, for depth in PNGs ``scale`` and ``offset`` (:func:`write_depth`), and ``image_id`` if
    the images are those of a data set.
    """
    partial = folder / f".{INDEX_NAME}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(orjson.dumps({"task": task, **facts, "images": list(rows)}, option=orjson.OPT_INDENT_2))
    return partial.replace(folder / INDEX_NAME)


def _write_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())


def _png_names(file_names: Sequence[str]) -> list[str]:
    """Paths of the images below the folder that holds them all; where two would be alike, all keep their suffixes."""
    absolute = [os.path.abspath(name) for name in file_names]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute] or [os.sep])
    paths = [PurePosixPath(Path(path).relative_to(root).as_posix()) for path in absolute]
    names = [path.with_suffix(".png").as_posix() for path in paths]
    if max(Counter(name.casefold() for name in names).values(), default=1) > 1:
        names = [f"{path.as_posix()}.png" for path in paths]
    return names
