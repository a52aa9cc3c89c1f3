"""A whole data set tracked: masks as one submits them, sequence by sequence in one or several processes, and scores."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from pe_dense.data import DataError, VideoSequence, VideoSequences, write_indexed_png
from pe_dense.engine import setup_logging
from pe_dense.engine.config_diff import changed_keys, describe_changes, flat_config
from pe_dense.engine.run_directory import RunDirectoryError, write_whole
from pe_dense.engine.settings import pick_device
from pe_dense.engine.trainer import autocast
from pe_dense.evaluation import ObjectScores, evaluate_vos_results, write_vos_tables
from pe_dense.evaluation.vos import scored_frames
from pe_dense.modeling.backbone.feature_cache import weights_digest
from pe_dense.modeling.tracking import VideoObjectTracker, follow
from pe_dense.prediction.progress import ProgressReport
from pe_dense.prediction.tracker_loading import TrackerSource
from pe_dense.structures.wording import counted, few

logger = logging.getLogger(__name__)

NOTE = "tracked_with.json"
_PARTIAL = ".partial"


@dataclass(frozen=True)
class TrackedSet:
    """What :func:`track_set` did.

    Attributes:
        masks: folder with a folder of masks per sequence.
        tracked: sequences that were tracked.
        kept: sequences that were done before.
        scores: of each object; empty without ground truth.
    """

    masks: Path
    tracked: list[str]
    kept: list[str]
    scores: list[ObjectScores]


def track_set(
    source: TrackerSource,
    videos: VideoSequences,
    output_dir: str | Path,
    device: str = "auto",
    precision: str = "fp32",
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
) -> TrackedSet:
    """Follow the objects of every sequence and write ``masks/<sequence>/<frame>.png``, ready to be submitted.

    A sequence's folder appears when all of it is done. Where more than the given masks is annotated the results are
    scored, see :func:`evaluate_vos_results`, and ``scores/`` gets the tables. ``tracked_with.json`` tells with what.

    Args:
        source: of the tracker.
        videos: with images, such as :class:`pe_dense.data.DAVIS2017`.
        output_dir: folder to write into.
        device: "auto", "cpu", "cuda" (with several workers all GPUs take turns) or "cuda:N".
        precision: of the encoder, "fp32" or "bf16".
        workers: processes that share the sequences, each with a tracker of its own.
        resume: continue; complete sequences are not tracked again.
        overwrite: replace what an earlier run wrote, if it is not resumed.

    Raises:
        DataError: if sequences have no images, cannot be read or do not fit together; the others are done before.
        RunDirectoryError: if the folder holds other results.
        ValueError: for a tracker, device or number of workers that cannot be used.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, it is {workers}")
    _check_data(videos)
    tracker = source.build(torch.device("cpu") if workers > 1 else pick_device(device))
    results = _Results(Path(output_dir), _identity(source, tracker, videos, precision))
    results.begin(resume, overwrite)
    todo = [sequence for sequence in videos if not results.complete(sequence)]
    kept = [sequence.name for sequence in videos if sequence not in todo]
    if kept:
        logger.info("%s done before: %s", counted(len(kept), "sequence"), few(kept))
    if workers == 1 or len(todo) < 2:
        errors = _track_here(tracker.to(pick_device(device)), todo, results.masks, precision)
    else:
        errors = _track_in_processes(source, todo, results.masks, device, precision, min(workers, len(todo)))
    if errors:
        first, *others = errors.items()
        more = f" (and {counted(len(others), 'other sequence')}: {few([name for name, _ in others])})" if others else ""
        raise DataError(f"{first[1]}{more}; continue with --resume when that is mended, what was finished is kept")
    scores = _score(videos, results, workers)
    return TrackedSet(results.masks, [sequence.name for sequence in todo], kept, scores)


def track_sequence(
    tracker: VideoObjectTracker,
    sequence: VideoSequence,
    folder: Path,
    precision: str = "fp32",
    progress: ProgressReport | None = None,
) -> None:
    """Follow the objects of one sequence and write the masks of the frames that are asked for.

    Frames before an object's first mask are without it. One frame is held at a time, besides those that the tracker
    looks back at.

    Args:
        tracker: on its device.
        sequence: with images.
        folder: appears, or is replaced, when all masks are written.
        precision: of the encoder.
        progress: advances with each frame.

    Raises:
        DataError: if a frame or mask cannot be read, or they do not fit together.
        OSError: if a file cannot be written.
    """
    partial = folder.with_name(f".{folder.name}{_PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    if not sequence.objects:
        logger.warning("%s: no object in its masks, all results are empty", sequence.name)
    try:
        _write_masks(tracker, sequence, partial, precision, progress)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_masks(
    tracker: VideoObjectTracker,
    sequence: VideoSequence,
    folder: Path,
    precision: str,
    progress: ProgressReport | None,
) -> None:
    wanted = set(sequence.wanted)
    tracker.reset(sequence.name)
    for frame in sequence.frames:
        image, given = sequence.read_image(frame), sequence.read_given(frame)
        try:
            with autocast(tracker.device, precision), torch.no_grad():
                labels = follow(tracker, image, given)
        except (TypeError, ValueError) as error:
            raise DataError(f"sequence {sequence.name}, frame {frame}: {error}") from error
        if frame in wanted:
            write_indexed_png(folder / f"{frame}.png", labels)
        if progress is not None:
            progress.advance()


class _Results:
    """The folder of the results, and the note of what they are."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder, self.masks = folder, folder / "masks"
        self._identity = json.loads(json.dumps(identity))

    def begin(self, resume: bool, overwrite: bool) -> None:
        """Check that the folder may be used, and write the note."""
        note = self.folder / NOTE
        there = sorted(f.name for f in self.masks.glob("[!.]*")) if self.masks.is_dir() else []
        if there and not note.is_file():
            raise RunDirectoryError(
                f"{self.masks} holds files of another program ({few(there)}); choose another --output"
            )
        if there and not (resume or overwrite):
            raise RunDirectoryError(
                f"{self.masks} holds the results of {counted(len(there), 'sequence')}: continue with --resume, replace "
                "them with --overwrite, or choose another --output"
            )
        if there and resume:
            self._compare(note)
        elif there:
            shutil.rmtree(self.masks)
            shutil.rmtree(self.folder / "scores", ignore_errors=True)
        self.masks.mkdir(parents=True, exist_ok=True)
        for left in self.masks.glob(f".*{_PARTIAL}"):
            shutil.rmtree(left)
        write_whole(note, (json.dumps(self._identity, indent=1) + "\n").encode())

    def _compare(self, note: Path) -> None:
        try:
            saved = flat_config(json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, AttributeError):
            raise RunDirectoryError(f"{note} is damaged; replace the results with --overwrite") from None
        present = flat_config(self._identity)
        changed = changed_keys(saved, present)
        if changed:
            raise RunDirectoryError(
                f"{self.masks} was tracked otherwise, which differs in {describe_changes(changed, saved, present)}: "
                "choose another --output, or replace the results with --overwrite"
            )

    def complete(self, sequence: VideoSequence) -> bool:
        """Whether a sequence has a mask of each frame that is asked for."""
        folder = self.masks / sequence.name
        return folder.is_dir() and {f.stem for f in folder.glob("*.png")} == set(sequence.wanted)


def _identity(
    source: TrackerSource, tracker: VideoObjectTracker, videos: VideoSequences, precision: str
) -> dict[str, Any]:
    """What the masks depend on besides the videos themselves."""
    return {
        "model": source.model_config(),
        "weights (digest)": weights_digest(tracker),
        "precision": precision,
        "one foreground object": videos.foreground,
    }


def _check_data(videos: VideoSequences) -> None:
    videos.require_images()
    missing = [f"{s.name}/{frame}" for s in videos for frame in sorted((s.asked or frozenset()) - s.images.keys())]
    if missing:
        raise DataError(
            f"{videos.source}: masks of {counted(len(missing), 'frame')} are asked for that have no image: "
            f"{few(missing)}; complete the images"
        )


def _track_here(
    tracker: VideoObjectTracker, todo: Sequence[VideoSequence], masks: Path, precision: str
) -> dict[str, str]:
    """What went wrong, by sequence."""
    errors = {}
    with ProgressReport() as progress:
        for number, sequence in enumerate(todo, 1):
            progress.start(f"{sequence.name} ({number} of {len(todo)})", "frames", len(sequence.frames))
            try:
                track_sequence(tracker, sequence, masks / sequence.name, precision, progress)
            except (DataError, FileNotFoundError) as error:
                logger.warning("%s", error)
                errors[sequence.name] = str(error)
    return errors


def _track_in_processes(
    source: TrackerSource, todo: Sequence[VideoSequence], masks: Path, device: str, precision: str, workers: int
) -> dict[str, str]:
    """As :func:`_track_here`; the long sequences go first, so that all processes end at about the same time."""
    context = multiprocessing.get_context("spawn")
    started = context.Value("i", 0)
    threads = max(1, torch.get_num_threads() // workers)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (source, device, precision, threads, started))
    errors = {}
    with _ended(pool), ProgressReport() as progress:
        progress.start("tracking", "sequences", len(todo))
        order = sorted(todo, key=lambda sequence: len(sequence.frames), reverse=True)
        names = {pool.submit(_track_one, sequence, masks / sequence.name): sequence.name for sequence in order}
        for future in as_completed(names):
            error = future.result()
            if error is not None:
                logger.warning("%s", error)
                errors[names[future]] = error
            progress.advance()
    return errors


@contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[None]:
    """After an error or Ctrl-C nobody waits for the sequences that are being tracked."""
    others = set(multiprocessing.active_children())
    try:
        yield
    except BrokenProcessPool:
        raise ValueError(
            "a process of the trackers ended before its time, perhaps for lack of memory: take fewer workers, and "
            "continue with --resume"
        ) from None
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_worker: list[Any] = []  # tracker and precision of a worker process


def _start_worker(source: TrackerSource, device: str, precision: str, threads: int, started: Any) -> None:
    setup_logging()
    cv2.setNumThreads(1)
    torch.set_num_threads(threads)
    with started.get_lock():
        number = started.value
        started.value += 1
    place = pick_device(device)
    if place.type == "cuda" and device in ("auto", "cuda"):
        place = torch.device("cuda", number % torch.cuda.device_count())
    logging.getLogger(TrackerSource.__module__).setLevel(logging.ERROR)  # the main process has told of the weights
    _worker[:] = [source.build(place), precision]


def _track_one(sequence: VideoSequence, folder: Path) -> str | None:
    """What went wrong; errors come back as text, for they would lose where they were raised."""
    tracker, precision = _worker
    try:
        track_sequence(tracker, sequence, folder, precision)
    except (DataError, FileNotFoundError) as error:
        return str(error)
    return None


def _score(videos: VideoSequences, results: _Results, workers: int) -> list[ObjectScores]:
    # masks of first frames alone, as YouTube-VOS publishes them, need not show the objects that were there before
    annotated = [s.name for s in videos if scored_frames(s, videos.scores_last_frame).keys() - set(s.objects.values())]
    if not annotated:
        logger.info("%s: only the given masks are annotated, nothing to score", videos.source)
        return []
    if len(annotated) < len(videos):
        logger.warning(
            "%s of %d are annotated after the first masks, only these are scored",
            counted(len(annotated), "sequence"), len(videos),
        )  # fmt: skip
    scores = evaluate_vos_results(videos.select(annotated), results.masks, workers)
    write_vos_tables(results.folder / "scores", scores)
    return scores
