"""DAVIS 2016, DAVIS 2017 and YouTube-VOS as they are downloaded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pe_dense.data.errors import DataError
from pe_dense.data.image_folder import IMAGE_SUFFIXES
from pe_dense.data.video_sequences import (
    VideoFolder,
    VideoSequence,
    VideoSequences,
    find_sequences,
    frame_files,
    read_list,
)
from pe_dense.structures.wording import counted, few


class _Davis(VideoSequences):
    """What both years have in common."""

    year: str
    one_object: bool

    def __init__(self, root: str | os.PathLike[str], split: str | None = "val", resolution: str = "480p") -> None:
        folder = Path(root).expanduser()
        masks, images = folder / "Annotations" / resolution, folder / "JPEGImages" / resolution
        if not masks.is_dir():
            there = sorted(p.name for p in masks.parent.glob("*") if p.is_dir())
            raise FileNotFoundError(
                f"{masks} does not exist (there is {few(there) or 'nothing'}); give DAVIS's folder that has "
                "Annotations and JPEGImages, and one of its resolutions"
            )
        names = None if split is None else self._names(folder, split, resolution)
        found = find_sequences(masks, images if images.is_dir() else None, names, foreground=self.one_object)
        super().__init__(found, f"{folder} ({split or 'all'})", foreground=self.one_object)

    def _names(self, folder: Path, split: str, resolution: str) -> list[str]:
        lists = [folder / "ImageSets" / place / f"{split}.txt" for place in dict.fromkeys((self.year, resolution))]
        file = next((file for file in lists if file.is_file()), None)
        if file is None:
            raise FileNotFoundError(
                f"{lists[0]} does not exist, the list of split {split!r}; check DAVIS's folder and the split, or take "
                "all sequences (split=None, --split all); DAVIS 2016 is a format of its own"
            )
        return read_list(file)


class DAVIS2016(_Davis):
    """DAVIS 2016: one foreground object per sequence, masks of 0 and 255.

    Args:
        root: with ``Annotations/<resolution>/<sequence>/*.png``, and perhaps ``JPEGImages`` alike and ``ImageSets``.
        split: the list ``ImageSets/2016/<split>.txt`` or ``ImageSets/<resolution>/<split>.txt``; ``None`` for all
            sequences.
        resolution: "480p" or "1080p".

    Raises:
        FileNotFoundError: if a folder or the list does not exist.
        DataError: if sequences of the list are missing, or masks have no image; all are named.
    """

    year = "2016"
    one_object = True


class DAVIS2017(_Davis):
    """DAVIS 2017, semi-supervised: the objects of each sequence's first frame.

    Args:
        root: with ``Annotations/<resolution>/<sequence>/*.png``, and perhaps ``JPEGImages`` alike and ``ImageSets``.
        split: the list ``ImageSets/2017/<split>.txt``; ``None`` for all sequences.
        resolution: "480p" or "Full-Resolution".

    Raises:
        FileNotFoundError: if a folder or the list does not exist.
        DataError: if sequences of the list are missing, or masks have no image; all are named.
    """

    year = "2017"
    one_object = False


class YouTubeVOS(VideoSequences):
    """YouTube-VOS, and sets arranged like it: some frames are annotated, objects may appear later than the first one.

    ``meta.json`` tells each object's first frame; without it all masks are read. The training set's also tells which
    categories were seen in training: the scores are then also split into seen and unseen.

    Args:
        root: with ``Annotations/<video>/*.png``, and perhaps ``JPEGImages`` alike and ``meta.json``; e.g. ``valid``.
        sequences: names, or a file that lists them; ``None`` for all.
        train_meta: the training set's ``meta.json``.
        images: another folder of images, with more frames than masks are asked for, e.g.
            ``valid_all_frames/JPEGImages``. Asked for are then the frames that ``meta.json`` lists, or without it those
            of ``JPEGImages``.

    Raises:
        FileNotFoundError: if a folder or file does not exist.
        DataError: if sequences of the list are missing, masks have no image, or ``meta.json`` does not fit the masks;
            all are named.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        sequences: str | os.PathLike[str] | Sequence[str] | None = None,
        train_meta: str | os.PathLike[str] | None = None,
        images: str | os.PathLike[str] | None = None,
    ) -> None:
        folder = Path(root).expanduser()
        masks, own, meta = folder / "Annotations", folder / "JPEGImages", folder / "meta.json"
        names = read_list(sequences) if isinstance(sequences, (str, os.PathLike)) else sequences
        found = find_sequences(masks, images or (own if own.is_dir() else None), names, later_objects=True)
        if images is not None and own.is_dir():
            found = [replace(s, asked=frozenset(frame_files(own / s.name, IMAGE_SUFFIXES))) for s in found]
        if meta.is_file():
            found = _with_meta(found, _read_meta(meta), meta, train_meta)
        elif train_meta is not None:
            raise FileNotFoundError(f"{meta} does not exist, so no category is known; leave out train_meta")
        super().__init__(found, folder, scores_last_frame=True)


SET_KINDS = ("davis2017", "davis2016", "youtube-vos", "folder")
"""Kinds of data sets that :func:`open_video_set` knows."""


def open_video_set(
    kind: str,
    root: str | os.PathLike[str],
    split: str | None = "val",
    resolution: str = "480p",
    sequences: Sequence[str] | None = None,
    train_meta: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> VideoSequences:
    """A data set by the name of its kind.

    Args:
        kind: one of :data:`SET_KINDS`; "folder" is a :class:`VideoFolder`.
        root: of the data set; of a "folder" its annotations.
        split: of DAVIS; ``None`` for all sequences.
        resolution: of DAVIS.
        sequences: only these.
        train_meta: of YouTube-VOS.
        images: of YouTube-VOS and of a "folder".

    Raises:
        ValueError: for another kind, or images for a set that has its own.
        FileNotFoundError, DataError: see the classes.
    """
    if kind not in SET_KINDS:
        raise ValueError(f'kind of data set "{kind}" is none of {", ".join(SET_KINDS)}')
    if kind == "youtube-vos":
        return YouTubeVOS(root, sequences, train_meta, images)
    if kind == "folder":
        return VideoFolder(root, images, sequences)
    if images is not None:
        raise ValueError(f"images {images} are given, but DAVIS has its images below {root}: leave them out")
    found = (DAVIS2016 if kind == "davis2016" else DAVIS2017)(root, split, resolution)
    return found.select(sequences) if sequences else found


def _read_meta(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Video -> object -> {"category", "frames"}."""
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {name: {int(k): dict(v) for k, v in video["objects"].items()} for name, video in videos.items()}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f'{path} is no list of objects ("videos" by name, their "objects" by number, with "frames"); '
            "copy it again, or remove it to find the objects in the masks"
        ) from None


def _with_meta(
    sequences: Sequence[VideoSequence],
    videos: Mapping[str, Mapping[int, Mapping[str, Any]]],
    path: Path,
    train_meta: str | os.PathLike[str] | None,
) -> list[VideoSequence]:
    """The sequences with first frames and, if known, whether the objects' categories were seen in training."""
    if unknown := [s.name for s in sequences if s.name not in videos]:
        raise DataError(
            f"{path} does not list {counted(len(unknown), 'sequence')}: {few(unknown)}; use the meta.json of this set, "
            "or remove it to find the objects in the masks"
        )
    trained = None if train_meta is None else _categories(_read_meta(Path(train_meta).expanduser()))
    told, wrong = [], []
    for sequence in sequences:
        objects = videos[sequence.name]
        first = {number: _first_frame(row, sequence) for number, row in sorted(objects.items())}
        wrong += [f"{sequence.name}, object {number}" for number, frame in first.items() if frame is None]
        seen = {} if trained is None else {number: row.get("category") in trained for number, row in objects.items()}
        listed = {number: frame for number, frame in first.items() if frame is not None}
        asked = frozenset(str(frame) for row in objects.values() for frame in row.get("frames") or ())
        told.append(replace(sequence, listed=listed, seen=seen, asked=asked))
    if wrong:
        raise DataError(
            f"{path}: no mask of the first frame of {counted(len(wrong), 'object')}: {few(wrong)}; complete the masks, "
            "or remove meta.json to find the objects in them"
        )
    return told


def _first_frame(row: Mapping[str, Any], sequence: VideoSequence) -> str | None:
    first = min(map(str, row.get("frames") or ()), default=None)
    return first if first in sequence.annotations else None


def _categories(videos: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> frozenset[Any]:
    return frozenset(row.get("category") for objects in videos.values() for row in objects.values())
