"""Reading and scoring predicted depth and labels that were saved."""

from __future__ import annotations

import filecmp
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import torch

from pe_dense.config import instantiate, load_config
from pe_dense.config.lazy import is_call, load_code
from pe_dense.evaluation.dense import DenseData, DenseEvaluator
from pe_dense.evaluation.dense_maps import INDEX_NAME
from pe_dense.evaluation.json_file import read_json
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)
_READ_MOST = 20  # images whose bytes are compared; the sizes of all are


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
        self._rows: dict[int, dict[str, Any]] = {int(row["image_id"]): row for row in rows if "image_id" in row}
        self._unnumbered = [row for row in rows if "image_id" not in row]
        self._image_root = str(content.get("image_root", ""))

    @property
    def image_ids(self) -> list[int]:
        """Of the images that were predicted, ascending; see :meth:`match_data`."""
        return sorted(self._rows)

    def match_data(self, dataset: DenseData) -> None:
        """Make sure that results and data set are about the same images.

        Those that ``tools/predict.py`` wrote have no image ids: they get those of the data set's images of the same
        file, or of the same name if the images lie elsewhere; other images take no part. Images of the same name in
        another folder must be copies where both are there; where only the data set's is, a warning says so.

        Raises:
            ValueError: naming the first image or the classes that differ.
        """
        if self._unnumbered:
            self._rows = self._matched(dataset)
        for image_id, row in sorted(self._rows.items()):
            name = dataset.file_name(image_id) if 0 <= image_id < len(dataset) else "missing"
            if PurePosixPath(name).name != PurePosixPath(row["file_name"]).name:
                raise ValueError(
                    f"{self.path}: image {image_id} is {row['file_name']} in the results and {name} in the data set; "
                    "give the data that they were predicted on"
                )
        self._check_copies(dataset)
        classes = getattr(dataset, "classes", None)
        if self.classes is not None and classes is not None and list(classes) != self.classes:
            raise ValueError(
                f"{self.path}: the results are of other classes ({counted(len(self.classes), 'class')}) than the data "
                f"set's ({len(classes)}); give the class list that they were predicted with"
            )

    def _matched(self, dataset: DenseData) -> dict[int, dict[str, Any]]:
        """The rows without image id by the ids of their images."""
        paths = [os.path.abspath(dataset.file_name(i)) for i in range(len(dataset))]
        found = [self._image(row) for row in self._unnumbered]
        if not set(found) & set(paths):  # the images have moved, or were copied
            paths, found = ([os.path.basename(path) for path in group] for group in (paths, found))
            often = Counter(paths) | Counter(found)
            repeated = [name for name in sorted(set(found) & set(paths)) if often[name] > 1]
            if repeated or not set(found) & set(paths):
                fault = f"{repeated[0]} is the name of several images" if repeated else "none of the images is"
                raise ValueError(
                    f"{self.path}: {fault} in the data set; predict the data set's own files to score the results"
                )
        ids = {path: i for i, path in enumerate(paths)}
        return {ids[path]: row for path, row in zip(found, self._unnumbered) if path in ids}

    def _image(self, row: dict[str, Any]) -> str:
        """The image that was predicted."""
        return os.path.abspath(os.path.join(self._image_root, row["file_name"]))

    def _check_copies(self, dataset: DenseData) -> None:
        """Refuse other images of the same names."""
        pairs = [(self._image(row), os.path.abspath(dataset.file_name(i))) for i, row in sorted(self._rows.items())]
        moved = [pair for pair in pairs if pair[0] != pair[1]]
        for number, pair in enumerate(moved):
            if not all(map(os.path.isfile, pair)):
                continue
            alike = os.path.getsize(pair[0]) == os.path.getsize(pair[1])
            if not alike or (number < _READ_MOST and not filecmp.cmp(*pair, shallow=False)):
                raise ValueError(
                    f"{self.path} holds predictions for {pair[0]}, and {pair[1]} of the data set is another image of "
                    "the same name; predict the data set's own images, or give the data that these were predicted on"
                )
        gone = [pair for pair in moved if not os.path.isfile(pair[0])]
        if gone:
            logger.warning("%s was made for %s, not for %s; has it moved?", self.path, *gone[0])

    def output(self, image_id: int) -> dict[str, torch.Tensor]:
        """What the model returned for an image: ``depth`` (H x W float32, NaN where not finite) or ``sem_seg`` (int64).

        Raises:
            ValueError: if there is no such prediction, or its file cannot be read.
        """
        row = self._rows.get(image_id)
        if row is None:
            raise ValueError(f"{self.path} has no prediction for image {image_id}")
        path = self.path.parent / row["file"]
        if path.suffix == ".npy":
            return {"depth": torch.from_numpy(_read_npy(path))}
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


def load_dense_evaluator(
    config_file: str | Path, overrides: Sequence[str] = (), task: str | None = None
) -> DenseEvaluator:
    """The evaluator of a recipe, or of a run's ``config.yaml``; it writes nothing.

    Args:
        config_file: with a :class:`DepthEvaluator` or :class:`SemSegEvaluator` as ``evaluator``.
        overrides: changes to the config, e.g. ``["evaluator.alignment=median"]``.
        task: "depth" or "sem_seg", for a config with several evaluators.

    Raises:
        ValueError: if the config has another evaluator or none.
    """
    cfg = load_config(config_file, overrides)
    node = cfg.get("evaluator")
    if node is not None and not is_call(node):  # several, by name
        node = next((one for one in node.values() if getattr(load_code(one), "task", None) == task), None)
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
    saved.match_data(evaluator.dataset)
    evaluator.reset()
    for image_id in saved.image_ids:
        sample = {"image_id": image_id, "file_name": evaluator.dataset.file_name(image_id)}
        evaluator.process([sample], [saved.output(image_id)])
    return evaluator.evaluate()


def _read_npy(path: Path) -> np.ndarray:
    """H x W float32 depth."""
    try:
        depth: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        depth = np.zeros(0)
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise ValueError(f"prediction {path} cannot be read as H x W float32 depth; write it again")
    return depth
