"""One sequence of a tracking benchmark: where its files are and how they are written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pe_dense.data.errors import DataError
from pe_dense.data.image_folder import IMAGE_SUFFIXES
from pe_dense.data.mot.kitti import read_kitti_tracks
from pe_dense.data.mot.mots import read_mots
from pe_dense.data.mot.seqinfo import SequenceInfo
from pe_dense.data.mot.text import read_mot_detections, read_mot_ground_truth, read_mot_results
from pe_dense.structures import Tracks


@dataclass(frozen=True)
class TrackFormat:
    """How ground truth and results are written.

    Attributes:
        read_ground_truth, read_results: path -> :class:`Tracks`.
        first_frame: number of the first frame in the files.
    """

    read_ground_truth: Callable[[str | os.PathLike[str]], Tracks]
    read_results: Callable[[str | os.PathLike[str]], Tracks]
    first_frame: int


MOT_FORMAT = TrackFormat(read_mot_ground_truth, read_mot_results, 1)
MOTS_FORMAT = TrackFormat(read_mots, partial(read_mots, what="results"), 1)
KITTI_FORMAT = TrackFormat(read_kitti_tracks, partial(read_kitti_tracks, what="results"), 0)
KITTI_MOTS_FORMAT = TrackFormat(partial(read_mots, first_frame=0), partial(read_mots, what="results", first_frame=0), 0)


@dataclass(frozen=True)
class TrackingSequence:
    """One sequence.

    Attributes:
        name: of the sequence; its results are in ``<name>.txt``.
        ground_truth: the file, which a test sequence does not have.
        image_dir: folder of its images, which need not exist.
        info: what its ``seqinfo.ini`` says, if there is one.
        length: number of frames, if it is known.
        format: how the files are written.
        detections: file of public detections, which need not exist.
    """

    name: str
    ground_truth: Path
    image_dir: Path
    info: SequenceInfo | None = None
    length: int | None = None
    format: TrackFormat = MOT_FORMAT
    detections: Path | None = None

    def read_ground_truth(self) -> Tracks:
        """The annotations, rows by frame.

        Raises:
            FileNotFoundError: if there are none.
            DataError: if the file is wrong.
        """
        return self.format.read_ground_truth(self.ground_truth)

    def read_detections(self) -> Tracks:
        """The public detections, rows by frame.

        Raises:
            FileNotFoundError: if there are none.
            DataError: if the file is wrong.
        """
        if self.detections is None:
            raise FileNotFoundError(f"sequence {self.name} has no public detections; detect objects with a model")
        return read_mot_detections(self.detections)

    def image_files(self) -> list[Path]:
        """Images in the order of the frames.

        Raises:
            FileNotFoundError: if there are none.
        """
        files = []
        if self.image_dir.is_dir():
            files = sorted(p for p in self.image_dir.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise FileNotFoundError(f"sequence {self.name} has no images in {self.image_dir}; check the data set")
        return files

    def with_results(self, path: str | os.PathLike[str]) -> SequenceResults:
        """The sequence together with what a tracker wrote for it."""
        return SequenceResults(self, Path(path))


@dataclass(frozen=True)
class SequenceResults:
    """A sequence and the file of results to be compared with its ground truth."""

    sequence: TrackingSequence
    results: Path

    @property
    def name(self) -> str:
        return self.sequence.name

    def load(self) -> tuple[Tracks, Tracks, int]:
        """Ground truth, results and the number of frames.

        Where the length is not known (no ``seqinfo.ini``, no seqmap) it is the number of images, or without images the
        last frame of both files.

        Raises:
            FileNotFoundError: if a file is missing.
            DataError: if a file is wrong or has frames that the sequence does not have.
        """
        truth = self.sequence.read_ground_truth()
        results = self.sequence.format.read_results(self.results)
        length = self._length(max(truth.num_frames, results.num_frames))
        self._require_frames(truth, length, f"ground truth {self.sequence.ground_truth}", "seqinfo.ini or the seqmap")
        self._require_frames(results, length, f"results {self.results}", "whether they are of another sequence")
        return truth, results, length

    def _length(self, last: int) -> int:
        if self.sequence.length is not None:
            return self.sequence.length
        try:
            return len(self.sequence.image_files())
        except FileNotFoundError:
            return last

    def _require_frames(self, tracks: Tracks, length: int, what: str, remedy: str) -> None:
        if tracks.num_frames > length:
            first = self.sequence.format.first_frame
            raise DataError(
                f"{what}: has frame {tracks.num_frames - 1 + first}, but sequence {self.name} has {length} frames "
                f"({first} to {length - 1 + first}); check {remedy}"
            )
