"""Videos in; identities, drawn videos and tables out."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pe_dense.data.mot import write_mot_results
from pe_dense.modeling.tracking.association import CameraMotion, Tracker
from pe_dense.prediction.detection_files import FileDetections
from pe_dense.prediction.footage import Footage, FootageFrame
from pe_dense.prediction.frame_writers import DrawAs, open_writer
from pe_dense.prediction.mots_rows import MotsRows
from pe_dense.prediction.predictor import Predictor
from pe_dense.prediction.progress import ProgressReport
from pe_dense.structures import Instances, Tracks
from pe_dense.structures.wording import counted
from pe_dense.visualization import TrackPainter

logger = logging.getLogger(__name__)

_CSV = ("id", "class", "first_frame", "last_frame", "detections", "mean_score", "path_px",
        "first_x", "first_y", "last_x", "last_y", "mean_width", "mean_height")  # fmt: skip


@dataclass(frozen=True)
class TrackedFrame:
    """One frame with identities.

    Attributes:
        number: from 0.
        time: seconds after the first frame at which it is shown.
        name: see :class:`FootageFrame`.
        image: H x W x 3 uint8 RGB; None where there is none.
        instances: objects that have an identity, with ``track_ids``.
    """

    number: int
    time: float
    name: str
    image: np.ndarray | None
    instances: Instances


@dataclass
class TrackReport:
    """What :func:`track_file` did.

    Attributes:
        frames: how many were looked at.
        results: all boxes with their ids; frames from 0, classes from 0.
        written: the files.
    """

    frames: int = 0
    results: Tracks = field(default_factory=Tracks.empty)
    written: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        tracks = counted(len(np.unique(self.results.ids)), "track")
        return f"{tracks} with {counted(len(self.results), 'box')} in {counted(self.frames, 'frame')}"


def track_frames(
    footage: Footage,
    detector: Predictor | FileDetections,
    tracker: Tracker,
    motion: CameraMotion | None = None,
    batch_size: int = 1,
    appearance: bool = True,
) -> Iterator[TrackedFrame]:
    """Identities frame by frame, as the frames are read.

    Args:
        footage: the video.
        detector: a predictor, whose low scores count too (its ``score_threshold`` is not applied: the tracker's
            settings say what is used), or detections from a file. If its model gives embeddings, as an
            :class:`AppearanceDetector` and a :class:`TrackingRCNN` do, and the tracker looks at appearance, they are
            used.
        tracker: is reset.
        motion: how the camera moves; None: it rests.
        batch_size: frames in one forward pass.
        appearance: False leaves the embeddings out.

    Raises:
        ValueError: if the model finds no objects, a predictor has no images, or an object is not finite.
    """
    if isinstance(detector, Predictor) and not footage.has_images:
        raise ValueError(f"{footage.name} has no images for the detector; give detections from a file")
    tracker.reset()
    stream = iter(footage)
    while batch := list(islice(stream, batch_size)):
        for frame, (found, embeddings) in zip(batch, _detect(detector, batch, footage.size)):
            number, image = frame.number, frame.image
            warp = None if motion is None else motion(number, image, found.boxes.double().numpy())
            vectors = embeddings if appearance and tracker.uses_embeddings else None
            try:
                shown = tracker.update(found, number, warp, vectors)
            except ValueError as error:
                raise ValueError(f"frame {number} of {footage.name}: {error}") from error
            yield TrackedFrame(number, frame.time, frame.name, image, shown)


def track_file(
    footage: Footage,
    detector: Predictor | FileDetections,
    tracker: Tracker,
    output_dir: str | os.PathLike[str],
    *,
    motion: CameraMotion | None = None,
    batch_size: int = 1,
    appearance: bool = True,
    draw: bool = True,
    trail: int = 30,
    draw_as: DrawAs = "mp4",
    mots: Mapping[str, int] | None = None,
) -> TrackReport:
    """Track one video and write what was found into ``output_dir``, which is made if need be.

    - ``NAME.txt``: MOTChallenge results, frames from 1 (all classes; the format has none).
    - ``NAME_tracks.csv``: a row per track: class, frames, length of its path in pixels, mean size and score.
    - ``NAME.mp4``: boxes with ids, masks and trails; a frame stays as long as in the video.
    - ``mots/NAME.txt``, if it is asked for: masks in MOTSChallenge's text, see :class:`MotsRows`.

    After an error or Ctrl-C in between, everything until then is written.

    Args:
        footage, detector, tracker, motion, batch_size, appearance: see :func:`track_frames`.
        output_dir: where to.
        draw: False writes no video.
        trail: frames whose box centres make the trail of an object.
        draw_as: format of the drawn video; "frames": pictures ``NAME_frames/FRAME.jpg``.
        mots: number in MOTS by name of a class (:data:`MOTS_NUMBERS`), to write masks too.

    Raises:
        ValueError: see :func:`track_frames`; or if the drawn video would overwrite the input, or masks are asked for
            that there are not.
        OSError: if a file cannot be written.
    """
    folder = Path(output_dir)
    names = detector.categories.names if detector.categories is not None else None
    masks = MotsRows(names, mots) if mots is not None else None
    writer = open_writer(folder, footage.name, draw_as, footage.fps) if draw and footage.has_images else None
    if footage.path is not None and writer is not None and writer.path.resolve() == footage.path.resolve():
        raise ValueError(f"the output {writer.path} would overwrite the input; choose another output folder")
    folder.mkdir(parents=True, exist_ok=True)
    painter = TrackPainter(names, trail)
    report, parts, last = TrackReport(), list[Tracks](), -1
    try:
        with ProgressReport() as progress, writer or nullcontext():
            progress.start(footage.name, "frames", footage.count)
            for frame in track_frames(footage, detector, tracker, motion, batch_size, appearance):
                report.frames, last = report.frames + 1, frame.number
                parts.append(_rows(frame))
                if masks is not None:
                    masks.add(frame.number, frame.instances)
                if writer is not None and frame.image is not None:
                    picture = painter.draw(frame.number, frame.image, frame.instances)
                    writer.write(picture, frame.time, frame.name)
                progress.advance()
    finally:
        report.results = Tracks.cat(parts) if parts else Tracks.empty()
        if report.frames:
            report.written += _write_texts(folder, footage.name, report.results, names, masks)
            report.written += [writer.path] if writer is not None else []
            logger.info("%s: %s", footage.name, report)
    if isinstance(detector, FileDetections) and detector.num_frames > last + 1:
        logger.warning(
            "%s: the detections go on to frame %d, the video ends with frame %d; are they of another one?",
            footage.name, detector.num_frames, last + 1,
        )  # fmt: skip
    return report


def _write_texts(
    folder: Path, name: str, results: Tracks, names: tuple[str, ...] | None, masks: MotsRows | None
) -> list[Path]:
    """All results but the video."""
    text, table = folder / f"{name}.txt", folder / f"{name}_tracks.csv"
    write_mot_results(text, results)
    write_track_table(table, results, names)
    return [text, table, *([masks.write(folder / "mots" / f"{name}.txt")] if masks is not None else [])]


def write_track_table(path: str | os.PathLike[str], results: Tracks, names: tuple[str, ...] | None = None) -> None:
    """Write a csv with a row per track, by id.

    Args:
        path: the file.
        results: boxes with ids; frames from 0, which the table counts from 1.
        names: of the classes, from 0; without them the number is written.
    """
    with Path(path).open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(_CSV)
        for track in np.unique(results.ids):
            rows = results[results.ids == track].sorted()
            centres = (rows.boxes[:, :2] + rows.boxes[:, 2:]) / 2
            path_length = np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()
            width, height = (rows.boxes[:, 2:] - rows.boxes[:, :2]).mean(axis=0)
            values, counts = np.unique(rows.classes, return_counts=True)
            label = int(values[counts.argmax()])
            numbers = (path_length, *centres[0], *centres[-1], width, height)
            writer.writerow([
                int(track), names[label] if names is not None and 0 <= label < len(names) else label,
                int(rows.frames[0]) + 1, int(rows.frames[-1]) + 1, len(rows), f"{rows.scores.mean():.4f}",
                *(f"{n:.2f}" for n in numbers),
            ])  # fmt: skip


def _detect(
    detector: Predictor | FileDetections, batch: list[FootageFrame], size: tuple[int, int]
) -> list[tuple[Instances, Tensor | None]]:
    """Objects of each frame, and what they look like."""
    if isinstance(detector, FileDetections):
        sizes = [size if frame.image is None else frame.image.shape[:2] for frame in batch]
        return [(detector(frame.number, (height, width)), None) for frame, (height, width) in zip(batch, sizes)]
    outputs = detector.predict_outputs([frame.image for frame in batch if frame.image is not None])
    for output in outputs:
        if "instances" not in output:
            raise ValueError(f"the model predicts {', '.join(output)} and no objects, which tracking needs")
    return [(output["instances"], output.get("embeddings")) for output in outputs]


def _rows(frame: TrackedFrame) -> Tracks:
    found = frame.instances
    ids, scores, classes = found.track_ids, found.scores, found.classes
    return Tracks.create(
        np.full(len(found), frame.number),
        found.boxes.double().numpy(),
        ids,
        scores=None if scores is None else scores.numpy(),
        classes=torch.zeros(len(found)) if classes is None else classes,
    )
