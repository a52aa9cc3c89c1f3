"""Videos in a COCO json: images that belong to ``videos``, and annotations with the identity of their object."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.data.mot.frames import Clip, TrackedFrames
from pe_dense.structures import Categories, Tracks

_IDENTITY = ("instance_id", "track_id")  # of MMTracking's CocoVID, and of TAO and BDD100K
_LISTS = ("videos", "images", "annotations", "categories")


class CocoVideoFrames(TrackedFrames):
    """Frames of the videos of a COCO json (CocoVID of MMTracking, TAO): boxes of objects that have an identity.

    Beside COCO's keys, ``videos`` have ``id``, ``name`` and maybe ``fps``, images ``video_id`` and ``frame_id`` (their
    order), annotations ``instance_id`` or ``track_id``, the same for an object in all frames of its video. Crowds are
    left out.

    Args:
        json_file: the json.
        image_root: folder that the json's ``file_name`` are relative to.

    Raises:
        FileNotFoundError: if the json or the image folder does not exist.
        DataError: if the json is malformed, naming the entry at fault, or no object has an identity.
    """

    def __init__(self, json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]) -> None:
        self.json_file, root = Path(json_file).expanduser(), Path(image_root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"image folder {root} does not exist; set image_root to the images")
        content = _read(self.json_file)
        try:
            categories = Categories.from_json(content["categories"])
            clips = _clips(content, root, categories, str(self.json_file))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{self.json_file}: an entry lacks {error}: images need id, file_name, video_id and frame_id, "
                f"annotations image_id, category_id, bbox and instance_id or track_id"
            ) from None
        if not any(len(clip.objects) for clip in clips):
            raise DataError(f"{self.json_file} has no object with an identity; add annotations with instance_id")
        super().__init__(clips, str(self.json_file), categories)


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; check json_file")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not a json file ({error}); write it again") from None
    missing = [key for key in _LISTS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise DataError(f"{path} has no list {', '.join(missing)}; a json of videos has {', '.join(_LISTS)}")
    return dict(content)


def _clips(content: Mapping[str, Any], root: Path, categories: Categories, source: str) -> list[Clip]:
    """Videos in the order of the json, each with its images in the order of ``frame_id``."""
    images: dict[Any, list[Mapping[str, Any]]] = {video["id"]: [] for video in content["videos"]}
    for image in content["images"]:
        if image["video_id"] not in images:
            raise DataError(f"{source}: image {image['file_name']} is of video {image['video_id']}, which is not there")
        images[image["video_id"]].append(image)
    rows: dict[Any, list[list[float]]] = {}
    for number, annotation in enumerate(content["annotations"]):
        if not annotation.get("iscrowd"):
            rows.setdefault(annotation["image_id"], []).append(_row(annotation, categories, f"{source}, {number}"))
    clips = []
    for video in content["videos"]:
        shown = sorted(images[video["id"]], key=lambda image: image["frame_id"])
        if shown:
            name, rate = str(video.get("name", video["id"])).replace("/", "-"), float(video.get("fps", 30.0))
            objects = _objects([rows.get(image["id"], []) for image in shown], f"{source}, video {name}")
            clips.append(Clip(name, tuple(root / str(image["file_name"]) for image in shown), rate, objects))
    return clips


def _row(annotation: Mapping[str, Any], categories: Categories, where: str) -> list[float]:
    """Identity, class index and box."""
    identity = next((annotation[key] for key in _IDENTITY if key in annotation), None)
    if identity is None:
        raise KeyError(_IDENTITY[0])
    box = np.asarray(annotation["bbox"], dtype=np.float64)
    label = categories.contiguous.get(annotation["category_id"])
    if label is None or box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < 0).any():
        raise DataError(
            f"{where}. annotation: bbox {annotation['bbox']} must be four finite numbers x, y, width, height, and "
            f"category_id {annotation['category_id']} one of the categories"
        )
    return [int(identity), label, box[0], box[1], box[0] + box[2], box[1] + box[3]]


def _objects(frames: Sequence[Sequence[Sequence[float]]], where: str) -> Tracks:
    for number, rows in enumerate(frames):
        ids = [row[0] for row in rows]
        if len(set(ids)) < len(ids):
            raise DataError(f"{where}: an identity occurs twice in frame {number} (from 0); each object has its own")
    table = np.array([row for rows in frames for row in rows], dtype=np.float64).reshape(-1, 6)
    numbers = np.repeat(np.arange(len(frames)), [len(rows) for rows in frames])
    return Tracks.create(numbers, table[:, 2:], table[:, 0], classes=table[:, 1])
