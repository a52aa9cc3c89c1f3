"""Which images a results file is about: an image without any detection leaves no trace in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from pe_dense.evaluation.json_file import read_json

IMAGES_NAME = "evaluated_images.json"


def write_evaluated_images(folder: Path, image_ids: Sequence[int]) -> None:
    """Note beside the results which images were processed."""
    (folder / IMAGES_NAME).write_bytes(orjson.dumps(list(image_ids)))


def read_evaluated_images(results: str | Path) -> list[int] | None:
    """Image ids that the results file covers, noted beside it by the evaluator; ``None`` without a note.

    Raises:
        ValueError: if the note is not a list of image ids.
    """
    path = Path(results).parent / IMAGES_NAME
    if not path.is_file():
        return None
    image_ids = read_json(path, "image ids")
    if not isinstance(image_ids, list) or not all(isinstance(i, int) for i in image_ids):
        raise ValueError(f"{path} is not a list of image ids; delete it to take all images of the ground truth")
    return image_ids
