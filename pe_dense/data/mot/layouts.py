"""Finding the sequences of tracking benchmarks and the results that belong to them.

Layouts: MOT15/16/17/20, DanceTrack, SportsMOT and MOTSChallenge (``<split>/<sequence>/{gt/gt.txt,det/det.txt,img1,
seqinfo.ini}``), TrackEval's tree (``<benchmark>-<split>/<sequence>`` beside ``seqmaps/<benchmark>-<split>.txt``), and
KITTI (``label_02/<sequence>.txt`` beside ``image_02/<sequence>``, for masks ``instances_txt``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pe_dense.data.errors import DataError
from pe_dense.data.mot.columns import read_bytes
from pe_dense.data.mot.seqinfo import read_seqinfo
from pe_dense.data.mot.sequences import (
    KITTI_FORMAT,
    MOT_FORMAT,
    SequenceResults,
    TrackFormat,
    TrackingSequence,
)
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

_SHOWN = 5
_LABELS = ("label_02", "instances_txt")


def find_mot_sequences(
    root: str | os.PathLike[str],
    split: str | None = None,
    names: Sequence[str] | None = None,
    seqmap: str | os.PathLike[str] | None = None,
    ground_truth: str = "gt/gt.txt",
    track_format: TrackFormat = MOT_FORMAT,
) -> list[TrackingSequence]:
    """Sequences of a folder in MOTChallenge's layout.

    Args:
        root: a data set, one of its splits, or a single sequence.
        split: folder of the data set ("train", "val", "MOT17-train").
        names: the sequences to take, with ``*`` for anything ("*-FRCNN"); all by default.
        seqmap: file with a name a line under a line "name"; by default TrackEval's ``../seqmaps/<folder>.txt`` if it
            exists, otherwise all sequences are taken.
        ground_truth: the annotations inside a sequence's folder ("gt/gt_val_half.txt"). A sequence without them (of a
            test set) needs a ``seqinfo.ini``.
        track_format: how the files are written.

    Returns:
        Sequences by name, or in the order of the seqmap.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        DataError: if there is no such sequence, or a file is wrong.
    """
    folder = Path(root) / split if split else Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"data set folder {folder} does not exist; check the path")
    if _is_sequence(folder, ground_truth):
        return _choose([_mot_sequence(folder, ground_truth, track_format)], names, folder)
    found = {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and _is_sequence(p, ground_truth)}
    if not found:
        parts = [p.name for p in sorted(folder.iterdir()) if p.is_dir()]
        parts = [name for name in parts if any(_is_sequence(q, ground_truth) for q in (folder / name).iterdir())]
        hint = f"choose one of its parts: {', '.join(parts)}" if parts else "check the path"
        raise DataError(f"{folder} has no sequences (folders with {ground_truth} or seqinfo.ini); {hint}")
    default_map = folder.parent / "seqmaps" / f"{folder.name}.txt"
    if seqmap is None and default_map.is_file():
        seqmap = default_map
    if seqmap is not None:
        listed = read_seqmap(seqmap)
        missing = [name for name in listed if name not in found]
        if missing:
            raise DataError(f"{seqmap} lists {_some(missing)}, but {folder} has no such sequence; check both")
        found = {name: found[name] for name in listed}
    return _choose([_mot_sequence(p, ground_truth, track_format) for p in found.values()], names, folder)


def read_seqmap(path: str | os.PathLike[str]) -> list[str]:
    """Names of sequences, one a line; a first line "name" is a heading.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it lists nothing, or a sequence twice.
    """
    text = read_bytes(path, "seqmap").decode("utf-8-sig", errors="replace")
    names = [line.split(",")[0].strip() for line in text.splitlines()]
    names = [name for i, name in enumerate(names) if name and not (i == 0 and name == "name")]
    if not names or len(set(names)) < len(names):
        what = "lists a sequence twice" if names else "lists no sequence"
        raise DataError(f"seqmap {path} {what}; it should have a name a line")
    return names


def find_kitti_sequences(
    root: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    seqmap: str | os.PathLike[str] | None = None,
    track_format: TrackFormat = KITTI_FORMAT,
) -> list[TrackingSequence]:
    """Sequences of a folder in KITTI's layout.

    Args:
        root: folder with ``label_02`` (or ``instances_txt``) and perhaps ``image_02``, or that folder of labels itself.
        names: the sequences to take, with ``*`` for anything; all by default.
        seqmap: TrackEval's ``evaluate_tracking.seqmap.<split>``: lines ``0000 empty 000000 000154`` with the number of
            frames (for KITTI MOTS the last frame). Without it the images tell the length.
        track_format: how the files are written.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        DataError: if there is no such sequence, or the seqmap is wrong.
    """
    folder = Path(root)
    labels = next((folder / name for name in _LABELS if (folder / name).is_dir()), folder)
    files = {p.stem: p for p in sorted(labels.glob("*.txt"))} if labels.is_dir() else {}
    if not files:
        raise FileNotFoundError(f"{folder} has no {' or '.join(_LABELS)} with a text file a sequence; check the path")
    lengths: dict[str, int | None] = dict.fromkeys(files)
    if seqmap is not None:
        lengths = dict(_kitti_lengths(seqmap, last_frame=track_format is not KITTI_FORMAT))
        missing = [name for name in lengths if name not in files]
        if missing:
            raise DataError(f"{seqmap} lists {_some(missing)}, but {labels} has no such file; check both")
    images = labels.parent / "image_02"
    sequences = [
        TrackingSequence(name, files[name], images / name, length=length, format=track_format)
        for name, length in lengths.items()
    ]
    return _choose(sequences, names, folder)


def _kitti_lengths(path: str | os.PathLike[str], last_frame: bool) -> dict[str, int]:
    lengths = {}
    text = read_bytes(path, "seqmap").decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) < 4 or not cells[3].isdecimal():
            raise DataError(f"seqmap {path}, line {number}: is not like '0000 empty 000000 000154'; repair it")
        lengths[cells[0].zfill(4)] = int(cells[3]) + last_frame
    if not lengths:
        raise DataError(f"seqmap {path} lists no sequence; it should have a line a sequence")
    return lengths


def match_results(sequences: Sequence[TrackingSequence], folder: str | os.PathLike[str]) -> list[SequenceResults]:
    """The results of each sequence: ``<folder>/<name>.txt``, or ``<folder>/data/<name>.txt`` as TrackEval has it.

    For one sequence ``folder`` may also be the file itself, of any name.

    Raises:
        FileNotFoundError: if results of a sequence are missing, naming a few and what is there instead.
    """
    path = Path(folder)
    if path.is_file():
        if len(sequences) > 1:
            raise DataError(
                f"{path} is one file, but there are {counted(len(sequences), 'sequence')}; give the folder with a file "
                "for each, or choose one sequence"
            )
        return [sequences[0].with_results(path)]
    if not path.is_dir():
        raise FileNotFoundError(f"results {path} do not exist; check the path")
    wanted = {s.name for s in sequences}
    present = {p.stem for p in path.glob("*.txt")}
    if not wanted & present and (path / "data").is_dir():
        path = path / "data"
        present = {p.stem for p in path.glob("*.txt")}
    missing = sorted(wanted - present)
    others = sorted(present - wanted)
    if missing:
        there = f"there are files for {_some(others)}" if others else "there are no others"
        raise FileNotFoundError(
            f"{path} has no results for {_some(missing)} ({there}); run the tracker on all of them, with an empty file "
            "where it finds nothing, or choose the sequences to evaluate"
        )
    if others:
        logger.warning("%s: %s of no chosen sequence left out: %s", path, counted(len(others), "file"), _some(others))
    return [s.with_results(path / f"{s.name}.txt") for s in sequences]


def _is_sequence(folder: Path, ground_truth: str) -> bool:
    return (folder / ground_truth).is_file() or (folder / "seqinfo.ini").is_file()


def _mot_sequence(folder: Path, ground_truth: str, track_format: TrackFormat) -> TrackingSequence:
    ini = folder / "seqinfo.ini"
    info = read_seqinfo(ini) if ini.is_file() else None
    return TrackingSequence(
        name=folder.resolve().name,
        ground_truth=folder / ground_truth,
        image_dir=folder / (info.image_dir if info else "img1"),
        info=info,
        length=info.length if info else None,
        format=track_format,
        detections=folder / "det" / "det.txt",
    )


def _choose(sequences: list[TrackingSequence], names: Sequence[str] | None, folder: Path) -> list[TrackingSequence]:
    if names is None:
        return sequences
    for pattern in names:
        if not any(fnmatchcase(s.name, pattern) for s in sequences):
            raise DataError(f"{folder} has no sequence {pattern}; it has {_some([s.name for s in sequences])}")
    return [s for s in sequences if any(fnmatchcase(s.name, pattern) for pattern in names)]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
