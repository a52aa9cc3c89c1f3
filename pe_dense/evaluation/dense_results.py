"""Predicted depth and labels as PNG files, with an index that says what they mean."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import orjson
import torch

from pe_dense.config import instantiate, load_config
from pe_dense.evaluation.dense import DenseData, DenseEvaluator
from pe_dense.evaluation.json_file import read_json
from pe_dense.structures.wording import counted

INDEX_NAME = "predictions.json"
_MOST = 65535


class DenseResultsWriter:
    """Writes one PNG per image, named and arranged like the images.

    ``predictions.json`` beside them holds ``task`` ("depth" or "sem_seg"), ``classes`` (sem_seg) and ``images``, each
    with ``image_id``, ``file_name`` and ``file``; for depth also ``scale`` and ``offset``: a value of the 16-bit PNG
    stands for ``value / scale + offset``, in metres unless the model's depth is relative, and 0 for what is not finite.
    Labels are 8-bit class indices.

    Args:
        folder: is made if need be.
        dataset: names the images.
    """

    def __init__(self, folder: Path, dataset: DenseData) -> None:
        self.folder = folder
        self._dataset = dataset
        self._names = _png_names([dataset.file_name(i) for i in range(len(dataset))])

    def add_depth(self, image_id: int, depth: np.ndarray, max_depth: float | None) -> dict[str, Any]:
        """Write H x W depth and return its row of the index.

        Args:
            image_id: of the image.
            depth: metres, or any unit.
            max_depth: metres; the scale then is the customary 1000 units per metre, or 256 if that does not reach
                ``max_depth``. None for relative depth, whose range is spread over the 16 bits.

        Raises:
            OSError: if the file cannot be written.
        """
        finite = np.isfinite(depth)
        if max_depth is not None:
            scale, offset = (1000.0 if 1000 * max_depth <= _MOST else 256.0), 0.0
        else:
            low, high = (float(depth[finite].min()), float(depth[finite].max())) if finite.any() else (0.0, 1.0)
            scale = (_MOST - 1) / max(high - low, 1e-12)
            offset = low - 1 / scale
        units = np.clip(np.round((np.where(finite, depth, 0.0) - offset) * scale), 1, _MOST).astype(np.uint16)
        units[~finite] = 0
        return {**self._write(image_id, units), "scale": scale, "offset": offset}

    def add_labels(self, image_id: int, labels: np.ndarray) -> dict[str, Any]:
        """Write H x W class indices and return the row of the index."""
        return self._write(image_id, labels.astype(np.uint8))

    def finish(self, task: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
        """Write the index (in one process, when all have written their images)."""
        partial = self.folder / f".{INDEX_NAME}.partial"
        self.folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(orjson.dumps({"task": task, **facts, "images": list(rows)}, option=orjson.OPT_INDENT_2))
        os.replace(partial, self.folder / INDEX_NAME)

    def _write(self, image_id: int, values: np.ndarray) -> dict[str, Any]:
        path = self.folder / self._names[image_id]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
        return {"image_id": image_id, "file_name": self._dataset.file_name(image_id), "file": self._names[image_id]}


class DenseResults:
    """Predictions that an evaluator saved.

    Args:
        folder: the folder with ``predictions.json``, or that file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an index of predictions.
    """

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder)
        self.path = path / INDEX_NAME if path.is_dir() else path
        content = read_json(self.path, "results index")
        rows = content.get("images") if isinstance(content, dict) else None
        if not isinstance(rows, list) or content.get("task") not in ("depth", "sem_seg"):
            raise ValueError(
                f'{self.path} is not an index of depth or label maps ("task" and "images"); '
                f"give the {INDEX_NAME} that the evaluator wrote with save=True"
            )
        self.task: str = content["task"]
        self.classes: list[str] | None = content.get("classes")
        self._rows: dict[int, dict[str, Any]] = {int(row["image_id"]): row for row in rows}

    @property
    def image_ids(self) -> list[int]:
        """Of the images that were predicted, ascending."""
        return sorted(self._rows)

    def check_data(self, dataset: DenseData) -> None:
        """Results and data set must be about the same images.

        Raises:
            ValueError: naming the first image or the classes that differ.
        """
        for image_id, row in sorted(self._rows.items()):
            name = dataset.file_name(image_id) if 0 <= image_id < len(dataset) else "missing"
            if PurePosixPath(name).name != PurePosixPath(row["file_name"]).name:
                raise ValueError(
                    f"{self.path}: image {image_id} is {row['file_name']} in the results and {name} in the data set; "
                    "give the data that they were predicted on"
                )
        classes = getattr(dataset, "classes", None)
        if self.classes is not None and classes is not None and list(classes) != self.classes:
            raise ValueError(
                f"{self.path}: the results are of other classes ({counted(len(self.classes), 'class')}) than the data "
                f"set's ({len(classes)}); give the class list that they were predicted with"
            )

    def output(self, image_id: int) -> dict[str, torch.Tensor]:
        """What the model returned for an image: ``depth`` (H x W float32, NaN where not finite) or ``sem_seg`` (int64).

        Raises:
            ValueError: if there is no such prediction, or its file cannot be read.
        """
        row = self._rows.get(image_id)
        if row is None:
            raise ValueError(f"{self.path} has no prediction for image {image_id}")
        path = self.path.parent / row["file"]
        content = np.fromfile(path, dtype=np.uint8) if path.is_file() else np.zeros(0, dtype=np.uint8)
        values = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
        kind = np.uint16 if self.task == "depth" else np.uint8
        if values is None or values.ndim != 2 or values.dtype != kind:
            found = "cannot be read" if values is None else f"is {values.dtype} of shape {values.shape}"
            raise ValueError(f"prediction {path} {found}; it must be a {8 * kind().itemsize}-bit single-channel PNG")
        if self.task == "sem_seg":
            return {"sem_seg": torch.from_numpy(values.astype(np.int64))}
        depth = np.where(values > 0, values / row["scale"] + row["offset"], np.nan)
        return {"depth": torch.from_numpy(depth.astype(np.float32))}


def load_dense_evaluator(config_file: str | Path, overrides: Sequence[str] = ()) -> DenseEvaluator:
    """The evaluator of a recipe, or of a run's ``config.yaml``; it writes nothing.

    Args:
        config_file: with a :class:`DepthEvaluator` or :class:`SemSegEvaluator` as ``evaluator``.
        overrides: changes to the config, e.g. ``["evaluator.alignment=median"]``.

    Raises:
        ValueError: if the config has another evaluator or none.
    """
    cfg = load_config(config_file, overrides)
    node = cfg.get("evaluator")
    quiet = {"save": False} if node is not None and "save" in node else {}
    evaluator: Any = instantiate(node, output_dir=None, **quiet) if node is not None else None
    if not hasattr(evaluator, "compare"):
        raise ValueError(f"{config_file} has no evaluator of depth or semantic segmentation; give the run's config")
    dense: DenseEvaluator = evaluator
    return dense


def evaluate_dense_results(evaluator: DenseEvaluator, results: str | Path) -> dict[str, float]:
    """Score saved predictions without the model.

    Args:
        evaluator: a :class:`DepthEvaluator` or :class:`SemSegEvaluator` of the same kind as the results.
        results: see :class:`DenseResults`.

    Returns:
        The evaluator's numbers over the images in the results. Those of depth differ from the run's by what 16 bits
        round off.

    Raises:
        FileNotFoundError, ValueError: if the results are unusable or of other data.
    """
    saved = DenseResults(results)
    saved.check_data(evaluator.dataset)
    evaluator.reset()
    for image_id in saved.image_ids:
        sample = {"image_id": image_id, "file_name": evaluator.dataset.file_name(image_id)}
        evaluator.process([sample], [saved.output(image_id)])
    return evaluator.evaluate()


def _png_names(file_names: Sequence[str]) -> list[str]:
    """Paths of the images below the folder that holds them all; where two would be alike, all keep their suffixes."""
    absolute = [os.path.abspath(name) for name in file_names]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute] or [os.sep])
    paths = [PurePosixPath(Path(path).relative_to(root).as_posix()) for path in absolute]
    names = [path.with_suffix(".png").as_posix() for path in paths]
    if max(Counter(name.casefold() for name in names).values(), default=1) > 1:
        names = [f"{path.as_posix()}.png" for path in paths]
    return names
