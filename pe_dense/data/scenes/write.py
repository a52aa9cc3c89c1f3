"""The data set on disk, in standard formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from pe_dense.data.scenes import annotations as ann
from pe_dense.data.scenes.compose import random_scene
from pe_dense.data.scenes.files import write_jpeg, write_png
from pe_dense.data.scenes.write_video import write_video

_SPLITS = ("train", "val", "videos")  # position = part of the seed of each picture
_SMALLEST = 64


@dataclass(frozen=True)
class ScenePaths:
    """Where everything was written.

    Attributes:
        root: the output folder.
        train_json, val_json: COCO annotations.
        train_images, val_images: folders of JPEG images.
        train_depth, val_depth: folders of 16-bit PNGs, millimetres.
        train_sem_seg, val_sem_seg: folders of 8-bit PNGs, class index, 255 = ignore.
        sem_seg_classes: json list of the classes of those PNGs.
        davis: ``JPEGImages/480p/<video>``, ``Annotations/480p/<video>`` and ``ImageSets/480p/val.txt``.
        mot: one MOTChallenge sequence folder per video.
    """

    root: Path
    train_json: Path
    val_json: Path
    train_images: Path
    val_images: Path
    train_depth: Path
    val_depth: Path
    train_sem_seg: Path
    val_sem_seg: Path
    sem_seg_classes: Path
    davis: Path
    mot: Path

    @classmethod
    def under(cls, root: str | Path) -> ScenePaths:
        """The layout below ``root``."""
        root = Path(root)
        notes = root / "annotations"
        return cls(
            root=root,
            train_json=notes / "instances_train.json",
            val_json=notes / "instances_val.json",
            train_images=root / "train",
            val_images=root / "val",
            train_depth=root / "depth_train",
            val_depth=root / "depth_val",
            train_sem_seg=root / "sem_seg_train",
            val_sem_seg=root / "sem_seg_val",
            sem_seg_classes=notes / "sem_seg_classes.json",
            davis=root / "videos" / "davis",
            mot=root / "videos" / "mot",
        )


def write_scenes(
    output: str | Path,
    train: int = 400,
    val: int = 100,
    size: int = 192,
    videos: int = 4,
    seed: int = 0,
    processes: int = 1,
) -> ScenePaths:
    """Write the data set; the same arguments give the same bytes, whatever the number of processes.

    Args:
        output: folder to write into; made if need be, files of the same name are replaced.
        train, val: number of images in each split.
        size: height and width of the images in pixels.
        videos: number of videos.
        seed: of everything random; image i of a split depends on (seed, split, i, size) alone.
        processes: worker processes; more than 1 pays off for thousands of images.

    Raises:
        ValueError: if a count is negative, ``size`` is below 64 or ``processes`` below 1.
    """
    for name, value, least in (
        ("train", train, 0), ("val", val, 0), ("videos", videos, 0), ("seed", seed, 0),
        ("size", size, _SMALLEST), ("processes", processes, 1),
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"write_scenes: {name} is {value}; it must be at least {least}")
    paths = ScenePaths.under(output)
    for folder in (paths.train_json.parent, *_split_folders(paths, "train"), *_split_folders(paths, "val")):
        folder.mkdir(parents=True, exist_ok=True)
    with _mapper(processes) as each:
        for split, count, json_file, first_id in (
            ("train", train, paths.train_json, 1),
            ("val", val, paths.val_json, train + 1),
        ):
            rows = each(partial(_write_image, paths, split, size, seed), range(count))
            _write_json(json_file, _collect(rows, split, size, first_id))
        _write_json(paths.sem_seg_classes, ann.sem_seg_classes())
        names = list(each(partial(_write_one_video, paths, size, seed), range(videos)))
    if names:
        listing = paths.davis / "ImageSets" / "480p" / "val.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{name}\n" for name in names))
    return paths


@contextmanager
def _mapper(processes: int) -> Iterator[Any]:
    """``map``, in this process or over several."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=8)


def _split_folders(paths: ScenePaths, split: str) -> tuple[Path, Path, Path]:
    """Folders of images, depth maps and semantic labels."""
    if split == "train":
        return paths.train_images, paths.train_depth, paths.train_sem_seg
    return paths.val_images, paths.val_depth, paths.val_sem_seg


def _write_image(paths: ScenePaths, split: str, size: int, seed: int, index: int) -> list[dict[str, Any]]:
    """Write one image with its depth and labels; returns its annotations."""
    scene = random_scene(np.random.default_rng([seed, _SPLITS.index(split), index]), size)
    images, depths, labels = _split_folders(paths, split)
    write_jpeg(images / f"{index:06d}.jpg", scene.picture.image)
    write_png(depths / f"{index:06d}.png", ann.depth_millimetres(scene.picture.depth))
    write_png(labels / f"{index:06d}.png", ann.sem_seg_labels(scene))
    return ann.coco_annotations(scene)


def _write_one_video(paths: ScenePaths, size: int, seed: int, index: int) -> str:
    rng = np.random.default_rng([seed, _SPLITS.index("videos"), index])
    return write_video(rng, size, f"scene_{index:03d}", paths.davis, paths.mot)


def _collect(rows: Iterable[list[dict[str, Any]]], split: str, size: int, first_id: int) -> dict[str, Any]:
    """The COCO dictionary of one split; image ids go on from one split to the next."""
    images: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for index, objects in enumerate(rows):
        image_id = first_id + index
        images.append({"id": image_id, "file_name": f"{index:06d}.jpg", "height": size, "width": size})
        for annotation in objects:
            found.append({"id": len(found) + 1, "image_id": image_id, **annotation})
    return {
        "info": {"description": f"pe_dense embedded scenes, {split}", "version": "1.0"},
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": images,
        "annotations": found,
        "categories": ann.coco_categories(),
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")))
