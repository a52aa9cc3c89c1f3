"""Predictions as COCO json, written while they are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson
import torch
from pycocotools import mask as coco_mask

from pe_dense.evaluation.scope import PREDICTIONS_NAME
from pe_dense.structures import Categories, Instances, encode_masks

RESULTS_NAME = "coco_instances_results.json"  # detectron2's name
_SPOOL_NAME = "predictions.partial.jsonl"


class ResultsWriter:
    """Collects the objects of images in files; a context manager that finishes them however it is left. Without any
    image it leaves no file.

    - ``predictions.json`` is a COCO data set: ``images`` (with file names), ``annotations`` (objects with their
      ``score``), ``categories``, and ``videos`` for images that are frames. Every reader of COCO data sets takes it.
    - ``coco_instances_results.json`` is the list of results that COCO evaluation takes.

    Until :meth:`close` everything lies in ``predictions.partial.jsonl``, an image a line: memory does not grow, and
    what was predicted survives a killed process.

    Args:
        folder: is made if need be.
        categories: the model's classes.
        info: becomes ``info`` of the data set.

    Raises:
        OSError: if nothing can be written into the folder.
    """

    def __init__(self, folder: str | Path, categories: Categories, info: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.categories = categories
        self.num_images = 0
        self.num_objects = 0
        self.videos: list[dict[str, Any]] = []
        self._info = {key: json_text(value) if isinstance(value, str) else value for key, value in info.items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._spool = (self.folder / _SPOOL_NAME).open("wb")
        except OSError as error:
            raise OSError(f"cannot write into {folder} ({error.strerror}); choose another output folder") from error

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add_video(self, file_name: str, size: tuple[int, int], fps: float) -> dict[str, Any]:
        """A new entry of ``videos``, with a new ``id``; its ``length`` (frames predicted) is for the caller to count.

        Args:
            file_name: as in the images.
            size: (height, width).
            fps: frames per second.
        """
        height, width = size
        video = {"id": len(self.videos) + 1, "file_name": json_text(file_name), "height": height, "width": width}
        self.videos.append({**video, "fps": fps, "length": 0})
        return self.videos[-1]

    def add(self, image: Mapping[str, Any], instances: Instances) -> int:
        """Add an image and its objects.

        Args:
            image: ``file_name``, ``height``, ``width`` and whatever else is to be said about it.
            instances: its objects, with classes and scores.

        Returns:
            The image's id, counted from 1.

        Raises:
            ValueError: if a prediction is not finite or its class is unknown.
            OSError: if the disk is full.
        """
        image_id = self.num_images + 1
        rows = coco_rows(image_id, str(image["file_name"]), instances, self.categories)
        record = {"id": image_id, **image, "file_name": json_text(str(image["file_name"]))}
        try:
            self._spool.write(orjson.dumps({"image": record, "rows": rows}, option=orjson.OPT_APPEND_NEWLINE))
            self._spool.flush()
        except OSError as error:
            raise OSError(f"could not write {self._spool.name} ({error.strerror}); free some space") from error
        self.num_images, self.num_objects = image_id, self.num_objects + len(rows)
        return image_id

    def close(self) -> None:
        """Write both json files, each under a temporary name first.

        Raises:
            OSError: if they cannot be written; the predictions are then still in ``predictions.partial.jsonl``.
        """
        if self._spool.closed:
            return
        spool = Path(self._spool.name)
        try:
            self._spool.close()
            if not self.num_images:
                spool.unlink()
                return
            _write(self.folder / RESULTS_NAME, self._write_results)
            _write(self.folder / PREDICTIONS_NAME, self._write_data_set)
        except OSError as error:
            raise OSError(
                f"could not write the json files in {self.folder} ({error.strerror}): free some space; "
                f"the predictions are in {spool}, an image a line"
            ) from error
        spool.unlink()

    def _lines(self) -> Iterator[dict[str, Any]]:
        with open(self._spool.name, "rb") as spool:
            for line in spool:
                yield orjson.loads(line)

    def _write_results(self, out: BinaryIO) -> None:
        _write_list(out, (row for line in self._lines() for row in line["rows"]))

    def _write_data_set(self, out: BinaryIO) -> None:
        out.write(b'{"info": ' + orjson.dumps(self._info) + b',\n"categories": ')
        out.write(orjson.dumps(self.categories.to_json()) + b',\n"videos": ' + orjson.dumps(self.videos))
        out.write(b',\n"images": ')
        _write_list(out, (line["image"] for line in self._lines()))
        out.write(b',\n"annotations": ')
        _write_list(out, self._annotations())
        out.write(b"}\n")

    def _annotations(self) -> Iterator[dict[str, Any]]:
        rows = (row for line in self._lines() for row in line["rows"])
        for number, row in enumerate(rows, start=1):
            rle, (_, _, width, height) = row.get("segmentation"), row["bbox"]
            area = float(coco_mask.area(rle)) if rle is not None else width * height
            yield {"id": number, **row, "area": area, "iscrowd": 0}


def coco_rows(image_id: int, file_name: str, instances: Instances, categories: Categories) -> list[dict[str, Any]]:
    """Objects of one image as rows of a COCO results file; masks as RLE.

    Args:
        image_id: id of the image.
        file_name: for error messages.
        instances: on the CPU, with classes and scores.
        categories: the model's classes.

    Raises:
        ValueError: if classes or scores are missing, a number is not finite, or a class is not one of ``categories``.
    """
    classes, scores, masks = instances.classes, instances.scores, instances.masks
    if classes is None or scores is None:
        raise ValueError("predictions need Instances.classes and Instances.scores")
    if not (torch.isfinite(instances.boxes).all() and torch.isfinite(scores).all()):
        raise ValueError(f"the predictions for {file_name} contain NaN or infinite numbers: the weights are unusable")
    if len(classes) and int(classes.max()) >= len(categories):
        raise ValueError(f"the model predicts class {int(classes.max())} but there are {len(categories)} class names")
    corners = instances.boxes.double()
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
    rows: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": categories.ids[c], "bbox": box, "score": score}
        for c, box, score in zip(classes.tolist(), boxes.tolist(), scores.tolist())
    ]
    if masks is not None:
        for row, rle in zip(rows, encode_masks(masks)):
            row["segmentation"] = rle
    return rows


def _write(path: Path, content: Callable[[BinaryIO], None]) -> None:
    partial = path.with_name(path.name + ".tmp")
    try:
        with partial.open("wb") as out:
            content(out)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_list(out: BinaryIO, items: Iterable[Any]) -> None:
    out.write(b"[")
    separator = b"\n"
    for item in items:
        out.write(separator + orjson.dumps(item))
        separator = b",\n"
    out.write(b"]")


def json_text(name: str) -> str:
    """A file name as json can hold it: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")
