"""Masks of tracked objects as MOTS takes them: of its classes, each pixel to one object."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from pe_dense.data.mot import MOTS_CAR, MOTS_PEDESTRIAN, disjoint_masks, write_mots
from pe_dense.structures import Instances, Tracks, encode_masks
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

MOTS_NUMBERS = {"car": MOTS_CAR, "pedestrian": MOTS_PEDESTRIAN, "person": MOTS_PEDESTRIAN}
"""Numbers of MOTS by the usual names of its classes."""


def mots_numbers(changes: Sequence[str]) -> Mapping[str, int]:
    """Numbers of MOTS by class from ``class=number`` texts; without any, the usual ones.

    Raises:
        ValueError: for another form.
    """
    pairs = [change.rpartition("=") for change in changes]
    wrong = [change for change, (name, _, number) in zip(changes, pairs) if not name or not number.isdecimal()]
    if wrong:
        raise ValueError(f"class of MOTS {wrong[0]!r}: give CLASS=N, for example person=2")
    return {name: int(number) for name, _, number in pairs} or MOTS_NUMBERS


class MotsRows:
    """Collects the masks of a video frame by frame, for one file of MOTS text.

    Where masks of a frame overlap, a pixel goes to the object with the highest score; objects that have no pixel, or
    none left, are left out, and so are those of other classes.

    Args:
        names: of the detector's classes.
        numbers: number in MOTS by name of a class.

    Raises:
        ValueError: if no class has a number, or a number is not one of MOTS.
    """

    def __init__(self, names: tuple[str, ...] | None, numbers: Mapping[str, int]) -> None:
        wrong = [f"{name}={number}" for name, number in numbers.items() if number not in (MOTS_CAR, MOTS_PEDESTRIAN)]
        if wrong:
            raise ValueError(f"{wrong[0]}: MOTS has the classes {MOTS_CAR} (car) and {MOTS_PEDESTRIAN} (pedestrian)")
        if not names:
            raise ValueError(
                "MOTS needs classes and masks, which det.txt has not: take a detector or COCO json with masks"
            )
        self._numbers = {i: numbers[name] for i, name in enumerate(names) if name in numbers}
        if not self._numbers:
            raise ValueError(
                f"none of {', '.join(numbers)} is among the classes of the detections, {', '.join(names)}: say which "
                f"stands for which of MOTS, for example --mots {names[0]}={MOTS_PEDESTRIAN}"
            )
        self._parts: list[Tracks] = []
        self._other = 0

    def add(self, frame: int, objects: Instances) -> None:
        """Take the masks of a frame.

        Args:
            frame: its number, from 0.
            objects: with ``track_ids``, ``scores`` and ``classes``.

        Raises:
            ValueError: if objects have no masks.
        """
        if not len(objects):
            return
        if objects.masks is None:
            raise ValueError("MOTS needs masks, and the detections have only boxes: take a detector with masks")
        assert objects.track_ids is not None
        assert objects.scores is not None
        assert objects.classes is not None
        kinds = np.array([self._numbers.get(label, 0) for label in objects.classes.tolist()])
        self._other += int((kinds == 0).sum())
        rows = np.flatnonzero(kinds)
        rles = encode_masks(objects.masks)
        masks = disjoint_masks([rles[row] for row in rows], objects.scores.numpy()[rows])
        seen = np.array([int(coco_mask.area(mask)) > 0 for mask in masks], dtype=bool)
        part = Tracks.create(
            np.full(len(rows), frame),
            objects.boxes.double().numpy()[rows],
            objects.track_ids.numpy()[rows],
            classes=kinds[rows],
            masks=masks,
        )
        self._parts.append(part[seen])

    def write(self, path: Path) -> Path:
        """Write the file, frames from 1."""
        write_mots(path, Tracks.cat(self._parts) if self._parts else Tracks.empty(masks=True))
        if self._other:
            logger.warning("%s: %s of classes without a number in MOTS left out", path, counted(self._other, "mask"))
        return path
