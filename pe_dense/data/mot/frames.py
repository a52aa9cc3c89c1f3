"""The frames of videos as images with tracked objects: for training on pairs of them, and for tracking."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pe_dense.data.annotations import ImageAnnotations
from pe_dense.data.errors import DataError
from pe_dense.data.image_io import decode_image
from pe_dense.data.mot.layouts import find_mot_sequences
from pe_dense.data.mot.sequences import TrackingSequence
from pe_dense.data.mot.text import write_mot_results
from pe_dense.structures import Categories, Tracks
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

UNKNOWN_CLASS = -1


@dataclass(frozen=True)
class Clip:
    """One video.

    Attributes:
        name: of the video.
        files: image of each frame, in order of time.
        frame_rate: frames per second.
        objects: what can be learnt from, rows by frame: boxes with the origin at the corner of the first pixel, class
            index from 0 (-1: not known), ids.
    """

    name: str
    files: tuple[Path, ...]
    frame_rate: float
    objects: Tracks


class TrackedFrames:
    """Every frame of several videos, one after the other; an :class:`~pe_dense.data.mapper.ImageDataset`.

    Args:
        clips: the videos.
        source: where they come from, for messages.
        categories: of the objects; ``None`` if classes are not known.

    Attributes:
        clips, source, categories: the same.
        clip_bounds: C + 1 int64: where each clip begins among the frames, and their number.

    Raises:
        DataError: if an object lies in a frame that a clip does not have.
    """

    labels = ("instances",)
    masks = False

    def __init__(self, clips: Sequence[Clip], source: str, categories: Categories | None = None) -> None:
        self.clips, self.source, self.categories = list(clips), source, categories
        self.clip_bounds = np.cumsum([0, *(len(clip.files) for clip in self.clips)], dtype=np.int64)
        self._offsets: list[np.ndarray] = []
        self._identities: list[np.ndarray] = []
        known = 0
        for clip in self.clips:
            if clip.objects.num_frames > len(clip.files):
                raise DataError(
                    f"{source}: sequence {clip.name} has an object in frame {clip.objects.num_frames}, but only "
                    f"{counted(len(clip.files), 'image')}; complete the images, or use annotations of the same download"
                )
            names, identities = np.unique(clip.objects.ids, return_inverse=True)
            self._identities.append(identities.astype(np.int64) + known)
            self._offsets.append(clip.objects.offsets(len(clip.files)))
            known += len(names)
        objects = counted(sum(len(clip.objects) for clip in self.clips), "box")
        logger.info(
            "%s: %s, %s, %s of %s", source, counted(len(self.clips), "sequence"), counted(len(self), "frame"), objects,
            counted(known, "object"),
        )  # fmt: skip

    def __len__(self) -> int:
        return int(self.clip_bounds[-1])

    def place(self, index: int) -> tuple[int, int]:
        """Clip and frame, both from 0, of item ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of a data set of {counted(len(self), 'frame')}")
        clip = int(np.searchsorted(self.clip_bounds, index, side="right")) - 1
        return clip, index - int(self.clip_bounds[clip])

    def file_name(self, index: int) -> str:
        """Path of the image of item ``index``."""
        clip, frame = self.place(index)
        return str(self.clips[clip].files[frame])

    def identities(self, index: int) -> np.ndarray:
        """N int64: which objects item ``index`` shows, numbered over all clips."""
        clip, frame = self.place(index)
        start, stop = self._offsets[clip][frame : frame + 2]
        return self._identities[clip][start:stop]

    def unlabelled(self, index: int) -> dict[str, Any]:
        """As :meth:`__getitem__`, without annotations."""
        clip, frame = self.place(index)
        path = self.clips[clip].files[frame]
        image = decode_image(path)
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "height": image.shape[0],
            "width": image.shape[1],
            "image_id": index,
            "file_name": str(path),
            "sequence": self.clips[clip].name,
            "frame": frame,
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item ``index``: the decoded frame and its objects.

        Returns:
            ``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id`` (the index), ``file_name``,
            ``sequence`` (its name), ``frame`` (from 0) and ``annotations`` with ``track_ids``.

        Raises:
            FileNotFoundError, DataError: if the image cannot be read.
        """
        item = self.unlabelled(index)
        clip, frame = self.place(index)
        start, stop = self._offsets[clip][frame : frame + 2]
        rows = self.clips[clip].objects[start:stop]
        item["annotations"] = ImageAnnotations(
            ids=np.arange(start, stop),
            boxes=rows.boxes.astype(np.float32),
            classes=rows.classes,
            crowd=np.zeros(len(rows), dtype=np.bool_),
            segmentations=[None] * len(rows),
            track_ids=self.identities(index),
        )
        return item

    def read_ground_truth(self, clip: int) -> Tracks:
        """What results of a clip are compared with: by default the objects, with the numbers of their categories."""
        objects = self.clips[clip].objects
        return with_category_ids(objects, self.categories)

    def write_results(self, folder: str | os.PathLike[str], clip: int, results: Tracks) -> None:
        """Write ``<folder>/<clip>.txt`` in the format of the benchmark, here MOTChallenge's.

        Raises:
            OSError: if the file cannot be written.
        """
        write_mot_results(Path(folder) / f"{self.clips[clip].name}.txt", results)


class MotFrames(TrackedFrames):
    """Frames of sequences in MOTChallenge's layout (also DanceTrack, SportsMOT and the embedded videos).

    Rows of ``gt.txt`` that are marked as ignored are not learnt from. Pixels count from 1 in these files, here from 0.

    Args:
        root, split, names, seqmap, ground_truth: see :func:`~pe_dense.data.mot.find_mot_sequences`.
        classes: names of the classes 1, 2, ... of ``gt.txt``; rows of other classes are left out. With a single name
            all rows are of that class (MOTChallenge marks all but pedestrians as ignored). ``None``: classes are not
            known, which is enough for a detector that does not train.
        min_visibility: objects of which a smaller share is visible are not learnt from.

    Raises:
        FileNotFoundError: if a folder, annotations or images are missing.
        DataError: if a file is wrong, or nothing is left to learn from.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str | None = None,
        names: Sequence[str] | None = None,
        seqmap: str | os.PathLike[str] | None = None,
        ground_truth: str = "gt/gt.txt",
        classes: Sequence[str] | None = None,
        min_visibility: float = 0.0,
    ) -> None:
        if not 0 <= min_visibility <= 1:
            raise ValueError(f"min_visibility must lie between 0 and 1, it is {min_visibility}")
        self.sequences = find_mot_sequences(root, split, names, seqmap, ground_truth)
        count = None if classes is None else len(classes)
        clips = [_mot_clip(sequence, count, min_visibility) for sequence in self.sequences]
        if not any(len(clip.objects) for clip in clips):
            raise DataError(
                f"{root}: no object of {counted(len(clips), 'sequence')} can be learnt from; check classes and "
                f"min_visibility, and that the ground truth marks objects with 1 in its seventh column"
            )
        categories = None if classes is None else Categories(tuple(range(1, len(classes) + 1)), tuple(classes))
        super().__init__(clips, str(root), categories)

    def read_ground_truth(self, clip: int) -> Tracks:
        """All rows of the clip's ``gt.txt``, as the benchmark's protocol wants them."""
        return self.sequences[clip].read_ground_truth()


def with_category_ids(objects: Tracks, categories: Categories | None) -> Tracks:
    """The same rows with the numbers of a data set's classes instead of their places; 1 where there are no classes."""
    if categories is None:
        return Tracks.create(objects.frames, objects.boxes, objects.ids, scores=objects.scores)
    classes = np.array(categories.ids, dtype=np.int64)[objects.classes]
    return Tracks.create(objects.frames, objects.boxes, objects.ids, scores=objects.scores, classes=classes)


def _mot_clip(sequence: TrackingSequence, num_classes: int | None, min_visibility: float) -> Clip:
    truth = sequence.read_ground_truth()
    used = ~truth.ignored & (truth.visibility >= min_visibility)
    if num_classes is not None and num_classes > 1:
        used &= (truth.classes >= 1) & (truth.classes <= num_classes)
    rows = truth[used]
    classes = np.full(len(rows), UNKNOWN_CLASS) if num_classes is None else rows.classes - 1
    if num_classes == 1:
        classes = np.zeros(len(rows), dtype=np.int64)
    objects = Tracks.create(rows.frames, rows.boxes - 1, rows.ids, classes=classes)
    frame_rate = sequence.info.frame_rate if sequence.info is not None else 30.0
    return Clip(sequence.name, tuple(sequence.image_files()), frame_rate, objects)
