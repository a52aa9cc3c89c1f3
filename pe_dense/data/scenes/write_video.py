"""One video on disk: DAVIS (JPEG frames, indexed-palette masks) and MOTChallenge (frames, gt.txt)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from pe_dense.data.indexed_png import write_indexed_png
from pe_dense.data.scenes.compose import Scene
from pe_dense.data.scenes.files import write_jpeg
from pe_dense.data.scenes.video import FRAME_RATE, FRAMES, random_video


def write_video(rng: np.random.Generator, size: int, name: str, davis: Path, mot: Path) -> str:
    """Write one video below both roots and return its name.

    In the masks 0 is background and an object's value is its identity, 1, 2, ...; gt.txt has a row for each object of
    which something is seen: frame (from 1), identity, whole box (x and y from 1; parts hidden or outside the image
    count), 1, class (from 1), visible part of the object.
    """
    frames = _fresh(davis / "JPEGImages" / "480p" / name)
    masks = _fresh(davis / "Annotations" / "480p" / name)
    pictures = _fresh(mot / name / "img1")
    truth = _fresh(mot / name / "gt") / "gt.txt"
    rows = []
    for index, scene in enumerate(random_video(rng, size)):
        write_jpeg(frames / f"{index:05d}.jpg", scene.picture.image)
        write_jpeg(pictures / f"{index + 1:06d}.jpg", scene.picture.image)
        write_indexed_png(masks / f"{index:05d}.png", identities(scene))
        rows += _mot_rows(scene, index + 1)
    truth.write_text("".join(f"{row}\n" for row in rows))
    (mot / name / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate={FRAME_RATE}\nseqLength={FRAMES}\n"
        f"imWidth={size}\nimHeight={size}\nimExt=.jpg\n"
    )
    return name


def _fresh(folder: Path) -> Path:
    """An empty folder: a frame left over from an earlier run would become part of the video."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def identities(scene: Scene) -> np.ndarray:
    """H x W uint8: identity + 1 of the object seen in each pixel, 0 = background."""
    table = np.array([*(s.thing.group + 1 for s in scene.shapes), 0], dtype=np.uint8)
    return table[scene.picture.owner]  # owner -1 picks the last entry, background


def _mot_rows(scene: Scene, frame: int) -> list[str]:
    rows = []
    pixels = np.bincount(scene.picture.owner[scene.picture.owner >= 0], minlength=len(scene.shapes))
    for seen, shape in sorted(zip(pixels, scene.shapes), key=lambda row: row[1].thing.group):
        if seen:
            x0, y0, x1, y1 = shape.extent
            box = f"{x0 + 1:.2f},{y0 + 1:.2f},{x1 - x0:.2f},{y1 - y0:.2f}"
            visible = min(1.0, seen / shape.pixels)
            rows.append(f"{frame},{shape.thing.group + 1},{box},1,{shape.thing.label + 1},{visible:.4f}")
    return rows
