"""Predicted depth and labels as files, beside the pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import numpy as np
import orjson

from pe_dense.evaluation.dense_maps import write_depth, write_index, write_labels
from pe_dense.prediction.coco_results import json_text
from pe_dense.prediction.inputs import InputFile, check_no_input_is_overwritten, name_outputs

DepthFormat = Literal["png", "npy"]
DEPTH_FORMATS: tuple[DepthFormat, ...] = get_args(DepthFormat)
TASKS = ("depth", "sem_seg")
"""Keys of an output that are maps, and the folders that they are written to."""


class MapWriter:
    """Writes the maps of images and video frames into ``depth/`` and ``sem_seg/`` below a folder.

    ``photos/a.jpg`` becomes ``depth/photos/a.png`` (or ``.npy``), frame 12 of ``clip.mp4``
    ``depth/clip.mp4/000012.png``. The index beside them, ``predictions.json``, is what
    :class:`~pe_dense.evaluation.DenseResults` reads. A context manager, which writes it however it is left.

    Args:
        folder: of the output.
        files: the inputs.
        pictures: other files that are written.
        image_root: folder that the inputs' names are relative to.
        max_depth: metres that 16 bits must reach; None for depth without unit.
        depth_format: see :func:`~pe_dense.evaluation.dense_maps.write_depth`.

    Attributes:
        classes: names of the labels' classes, None if unknown.
        index_files: written by :meth:`close`.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[InputFile],
        pictures: Collection[Path],
        image_root: Path,
        max_depth: float | None,
        depth_format: DepthFormat = "png",
    ) -> None:
        self.folder = folder
        self.classes: Sequence[str] | None = None
        self.index_files: list[Path] = []
        self._files, self._pictures = list(files), set(pictures)
        images = [file for file in files if not file.is_video]
        self._names = {file.name: name[: -len(".png")] for file, name in zip(images, name_outputs(images, ".png"))}
        self._image_root, self._max_depth = image_root, max_depth
        self._suffixes = {"depth": f".{depth_format}", "sem_seg": ".png", "point_clouds": ".ply"}
        self._rows: dict[str, list[bytes]] = {}  # as text, a tenth of the memory

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, record: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Write the maps of an image.

        Args:
            record: ``file_name``, and for a frame of a video ``frame_id``.
            output: of the model.

        Raises:
            ValueError: if a map would replace an input or a picture, or depth is not finite.
            OSError: if a file cannot be written.
        """
        for task in TASKS:
            if task not in output:
                continue
            if task not in self._rows:
                self._check_paths(task)
                self._rows[task] = []
            values: np.ndarray = output[task].numpy()
            path = self.path(task, str(record["file_name"]), record.get("frame_id"))
            row = {"file_name": json_text(str(record["file_name"]))}
            row["file"] = json_text(path.relative_to(self.folder / task).as_posix())
            if task == "sem_seg":
                write_labels(path, values)
            else:
                row |= self._write_depth(path, values, row["file_name"])
            self._rows[task].append(orjson.dumps(row))

    def close(self) -> None:
        """Write the index of each kind of map."""
        facts: dict[str, dict[str, Any]] = {task: {"image_root": json_text(str(self._image_root))} for task in TASKS}
        facts["depth"]["metric"] = self._max_depth is not None
        if self.classes is not None:
            facts["sem_seg"]["classes"] = list(self.classes)
        self.index_files = [
            write_index(self.folder / task, task, [orjson.loads(row) for row in rows], **facts[task])
            for task, rows in self._rows.items()
        ]

    def path(self, kind: str, name: str, frame: int | None = None) -> Path:
        """The file of an image, or of a frame of a video (its ``file_name`` in the results): maps, or point clouds."""
        if frame is not None:
            return self.folder / kind / name.removesuffix(f"#{frame}") / f"{frame:06d}{self._suffixes[kind]}"
        return self.folder / kind / f"{self._names[name]}{self._suffixes[kind]}"

    def _write_depth(self, path: Path, depth: np.ndarray, name: str) -> dict[str, Any]:
        if not np.isfinite(depth).all():
            raise ValueError(f"the depth predicted for {name} contains NaN or infinity: the weights are unusable")
        return dict(write_depth(path, depth, self._max_depth))

    def _check_paths(self, task: str) -> None:
        paths = [self.path(task, name) for name in self._names]
        check_no_input_is_overwritten(self._files, paths)
        for path in paths:
            if path in self._pictures:
                raise ValueError(f"{path} would be a picture and a map; predict the inputs in {task}/ by themselves")
