"""Which images a results file is about: an image without any detection leaves no trace in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from pe_dense.evaluation.json_file import read_json

logger = logging.getLogger(__name__)

IMAGES_NAME = "evaluated_images.json"
PREDICTIONS_NAME = "predictions.json"  # beside the results of tools/predict.py, which numbers the images itself


def write_evaluated_images(folder: Path, json_file: Path, images: Iterable[tuple[int, str]]) -> None:
    """Note beside the results which images were processed: id and ``file_name`` of each, and their json file."""
    rows = [{"id": image_id, "file_name": name} for image_id, name in images]
    note = {"json_file": str(json_file.absolute()), "images": rows}
    (folder / IMAGES_NAME).write_bytes(orjson.dumps(note))


def read_evaluated_images(results: str | Path, json_file: str | Path) -> list[int] | None:
    """Image ids that a results file covers, by the evaluator's note or the ``predictions.json`` beside it, if any.

    Two data sets often have the same image ids, so the images' file names are compared too. Only a warning is logged
    if these agree but the json file is another one: it may be a copy.

    Args:
        results: the results file.
        json_file: the ground truth that it is to be compared with.

    Raises:
        FileNotFoundError: if there is a note but no ``json_file``.
        ValueError: if the note is malformed, or an image of it is another one, or none, in ``json_file``.
    """
    places = [Path(results).parent / name for name in (IMAGES_NAME, PREDICTIONS_NAME)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    note = read_json(path, "note of the evaluated images")
    evaluated, known = _file_names(note), _file_names(read_json(json_file, "ground truth"))
    if evaluated is None:
        raise ValueError(f"{path} does not list the evaluated images; evaluate again, or delete it to take all images")
    if known is None:
        raise ValueError(f"{json_file} has no list 'images' of objects with an 'id'; give a COCO-format json")
    source = note.get("json_file")
    for image_id, name in evaluated.items():
        if image_id not in known or not _same_file(name, known[image_id]):
            found = f"'{known[image_id]}'" if image_id in known else "not"
            remedy = f"give the json that was evaluated, {source}, and its images"
            if source is None:
                remedy = "tools/predict.py numbers the images itself; use the results of an evaluation"
            raise ValueError(
                f"{results} holds results of another data set: its image id {image_id} is '{name}' and {found} in "
                f"{json_file}; {remedy}"
            )
    if source is not None and Path(source) != Path(json_file).absolute():
        logger.warning("%s was made for %s, not for %s; is it a copy?", results, source, json_file)
    return list(evaluated)


def _file_names(content: Any) -> dict[int, str] | None:
    """File name by image id of a COCO data set or a note; ``None`` for anything else."""
    rows = content.get("images") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        return None
    return {row["id"]: str(row.get("file_name") or row.get("coco_url", "")) for row in rows}


def _same_file(first: str, second: str) -> bool:
    """Whether one name is the other or its end: they may be relative to different folders."""
    if first == second:
        return True
    ends = zip(reversed(PurePosixPath(first).parts), reversed(PurePosixPath(second).parts))
    return all(a == b for a, b in ends)
