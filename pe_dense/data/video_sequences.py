"""Videos as folders of frames, with masks of objects for all or some of the frames."""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from pe_dense.data.errors import DataError
from pe_dense.data.image_folder import IMAGE_SUFFIXES
from pe_dense.data.image_io import decode_image
from pe_dense.data.indexed_png import VOID, read_foreground_png, read_indexed_png
from pe_dense.data.video_results import VideoResults
from pe_dense.structures.wording import counted, few

logger = logging.getLogger(__name__)

_MASK_SUFFIXES = frozenset({".png"})
Self = TypeVar("Self", bound="VideoSequences")


@dataclass(frozen=True)
class VideoSequence:
    """One video and what is annotated in it.

    Attributes:
        name: of its folder.
        frames: names of the frames without extension, in order of time.
        images: frame -> image file; empty if there are only annotations.
        annotations: frame -> mask file, in order of time; not every frame need have one.
        foreground: the masks tell foreground from background (DAVIS 2016), which counts as object 1.
        later_objects: objects may appear after the first annotated frame; else those of that frame are all.
        listed: object -> its first frame, where a list says so.
        seen: object -> whether its category is one of the training set's, where that is known.
        asked: frames whose masks are asked for, where a list says so; else those of all frames are.
    """

    name: str
    frames: tuple[str, ...]
    images: Mapping[str, str]
    annotations: Mapping[str, str]
    foreground: bool = False
    later_objects: bool = False
    listed: Mapping[int, str] | None = None
    seen: Mapping[int, bool] = field(default_factory=dict)
    asked: frozenset[str] | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """Frames whose masks results must hold, in order of time: those asked for and, to be scored, the annotated."""
        if self.asked is None:
            return self.frames
        return tuple(frame for frame in self.frames if frame in self.asked or frame in self.annotations)

    @cached_property
    def objects(self) -> dict[int, str]:
        """Object -> first frame in which it is annotated; reads masks if no list tells.

        Without later objects they are 1 to the highest number in the first mask, as DAVIS counts them: a number that is
        skipped is an object that is never there.
        """
        if self.listed is not None:
            return dict(self.listed)
        annotated = list(self.annotations)
        if self.foreground:
            return {1: annotated[0]} if annotated else {}
        if not self.later_objects:
            return dict.fromkeys(range(1, self._last_object(annotated) + 1), annotated[0])
        first: dict[int, str] = {}
        for frame in annotated:
            present = np.bincount(self.read_labels(frame).ravel(), minlength=256)[1:VOID] > 0
            for number in (np.flatnonzero(present) + 1).tolist():
                first.setdefault(number, frame)
        return dict(sorted(first.items()))

    def read_image(self, frame: str) -> np.ndarray:
        """H x W x 3 uint8 RGB.

        Raises:
            FileNotFoundError, DataError: if there is no such frame or it cannot be read.
        """
        return decode_image(self._file(self.images, frame, "image"))

    def read_labels(self, frame: str) -> np.ndarray:
        """H x W uint8: 0 background, 255 void, else the object.

        Raises:
            FileNotFoundError, DataError: if there is no such mask or it cannot be read.
        """
        path = self._file(self.annotations, frame, "mask")
        return read_foreground_png(path) if self.foreground else read_indexed_png(path)

    def read_given(self, frame: str) -> np.ndarray | None:
        """The masks that a tracker is given in a frame: those of the objects that begin in it.

        Returns:
            H x W uint8, other objects and void being 0; ``None`` if no object begins.

        Raises:
            FileNotFoundError, DataError: if the masks cannot be read.
        """
        new = [number for number, first in self.objects.items() if first == frame]
        if not new:
            return None
        labels = self.read_labels(frame)
        return np.where(np.isin(labels, new), labels, 0).astype(np.uint8)

    def _last_object(self, annotated: Sequence[str]) -> int:
        if not annotated:
            return 0
        labels = self.read_labels(annotated[0])
        last = int(labels[labels != VOID].max(initial=0))
        if not last and labels.any():
            raise DataError(
                f"mask {self.annotations[annotated[0]]} has no object, only 255 (void); if 255 is the foreground, read "
                "the set as DAVIS 2016"
            )
        return last

    def _file(self, files: Mapping[str, str], frame: str, what: str) -> str:
        if frame not in files:
            raise FileNotFoundError(f"sequence {self.name} has no {what} of frame {frame} (it has {len(files)})")
        return files[frame]


class VideoSequences:
    """Several videos with annotated objects.

    Args:
        sequences: the videos.
        source: where they lie, for messages.
        foreground: masks, and results too, tell foreground from background only.
        scores_last_frame: whether the last annotated frame counts when results are scored; DAVIS leaves it out.

    Raises:
        DataError: if there is no video.
    """

    def __init__(
        self,
        sequences: Sequence[VideoSequence],
        source: str | os.PathLike[str],
        foreground: bool = False,
        scores_last_frame: bool = False,
    ) -> None:
        if not sequences:
            raise DataError(f"{source} has no sequence: no folder of frames; check the path")
        self.sequences = list(sequences)
        self.source = str(source)
        self.foreground = foreground
        self.scores_last_frame = scores_last_frame
        logger.info("%s: %s", source, counted(len(self.sequences), "sequence"))

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> VideoSequence:
        return self.sequences[index]

    def __iter__(self) -> Iterator[VideoSequence]:
        return iter(self.sequences)

    def select(self: Self, names: Collection[str]) -> Self:
        """A data set of these sequences only, in this order.

        Raises:
            DataError: if there are no such sequences; all are named.
        """
        by_name = {sequence.name: sequence for sequence in self.sequences}
        require_names(names, by_name, f"{self.source} has no sequence")
        part = copy.copy(self)
        part.sequences = [by_name[name] for name in dict.fromkeys(names)]
        return part

    def require_images(self, sequences: Iterable[VideoSequence] | None = None) -> None:
        """Are there images of these sequences, by default of all?

        Raises:
            DataError: if some have only masks; all are named.
        """
        asked = self.sequences if sequences is None else sequences
        blind = [sequence.name for sequence in asked if not sequence.images]
        if blind:
            raise DataError(
                f"{self.source}: {counted(len(blind), 'sequence')} without images, only masks: {few(blind)}; complete "
                "the data, or give the folder of the images"
            )

    def open_results(self, folder: str | os.PathLike[str]) -> VideoResults:
        """Saved results of the data set's kind of masks.

        Raises:
            FileNotFoundError: if there is no such folder.
        """
        return VideoResults(folder, self.foreground)


class VideoFolder(VideoSequences):
    """A folder of sequences, ``annotations/<sequence>/<frame>.png``, with DAVIS's rules.

    The objects are those of the first annotated frame.

    Args:
        annotations: with a folder of indexed PNGs for each sequence.
        images: with a folder of images for each sequence; ``None`` if only results are to be scored.
        sequences: names, or a file that lists them; ``None`` for all.

    Raises:
        FileNotFoundError: if a folder or the list does not exist.
        DataError: if sequences of the list are missing or empty; all are named.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        sequences: str | os.PathLike[str] | Sequence[str] | None = None,
    ) -> None:
        names = read_list(sequences) if isinstance(sequences, (str, os.PathLike)) else sequences
        super().__init__(find_sequences(annotations, images, names), annotations)


def find_sequences(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None,
    names: Sequence[str] | None,
    foreground: bool = False,
    later_objects: bool = False,
) -> list[VideoSequence]:
    """The sequences below a folder of masks and one of images.

    Args:
        annotations, images: each with a folder per sequence; ``images`` is optional.
        names: which ones, in order; ``None`` for all, sorted.
        foreground, later_objects: see :class:`VideoSequence`.

    Raises:
        FileNotFoundError: if a folder does not exist.
        DataError: if sequences have no masks, or masks have no image; all are named.
    """
    mask_root, image_root = (None if root is None else Path(root).expanduser() for root in (annotations, images))
    assert mask_root is not None
    present = subfolders(mask_root)
    names = present if names is None else list(dict.fromkeys(names))
    require_names(names, present, f"{mask_root} has no folder of the sequence")
    sequences = []
    for name in names:
        masks = frame_files(mask_root / name, _MASK_SUFFIXES)
        pictures = {} if image_root is None else frame_files(image_root / name, IMAGE_SUFFIXES)
        frames = tuple(pictures or masks)
        sequences.append(VideoSequence(name, frames, pictures, masks, foreground, later_objects))
    if empty := [s.name for s in sequences if not s.annotations]:
        raise DataError(
            f"{mask_root}: {counted(len(empty), 'sequence')} without a mask (.png): {few(empty)}; complete the data or "
            "take them off the list"
        )
    if image_root is not None:
        lonely = [f"{s.name}/{frame}" for s in sequences for frame in s.annotations if frame not in s.images]
        if lonely:
            raise DataError(
                f"{image_root} lacks the images of {counted(len(lonely), 'mask')} of {mask_root}: {few(lonely)}; "
                "complete it, or use masks and images of one download"
            )
    return sequences


def read_list(path: str | os.PathLike[str]) -> list[str]:
    """Names of sequences, one per line, or lines ``/JPEGImages/480p/<sequence>/<frame>.jpg ...`` as DAVIS 2016 has.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it names nothing.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"list of sequences {file} does not exist; check the path, or take all sequences")
    lines = [line.split()[0] for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    names = list(dict.fromkeys(Path(line).parent.name if "/" in line else line for line in lines))
    if not names:
        raise DataError(f"list of sequences {file} is empty; it must name one sequence per line")
    return names


def require_names(names: Collection[str], present: Collection[str], fault: str) -> None:
    """Raise ``DataError`` (``fault`` and the names) unless all names are present."""
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{fault} {few(missing)} ({len(missing)} of {len(names)} missing; there is "
            f"{few(sorted(present)) or 'none'}); complete the data, or correct the names"
        )


def subfolders(root: Path) -> list[str]:
    """Names of the folders in a folder, sorted."""
    if not root.is_dir():
        raise FileNotFoundError(f"folder {root} does not exist; check the path")
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def frame_files(folder: Path, suffixes: Collection[str]) -> dict[str, str]:
    """Frame name -> file of a sequence's folder, in the order of the numbers in the names; {} if there is none."""
    if not folder.is_dir():
        return {}
    found: dict[str, str] = {}
    for entry in os.scandir(folder):
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in suffixes and not stem.startswith("."):
            if stem in found:
                raise DataError(f"{found[stem]} and {entry.path} are the same frame; remove one of them")
            found[stem] = entry.path
    return {stem: found[stem] for stem in sorted(found, key=_by_number)}


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts "9" before "10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
