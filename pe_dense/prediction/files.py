"""Images and videos in; pictures, videos and COCO json out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pe_dense.data import DataError
from pe_dense.data.image_io import decode_image
from pe_dense.evaluation.scope import PREDICTIONS_NAME
from pe_dense.prediction.coco_results import ResultsWriter
from pe_dense.prediction.inputs import (
    InputFile,
    check_no_input_is_overwritten,
    check_output_folder,
    find_inputs,
    name_outputs,
)
from pe_dense.prediction.predictor import Predictor
from pe_dense.prediction.progress import ProgressReport
from pe_dense.prediction.video_io import VideoReader, VideoWriter
from pe_dense.structures import Instances
from pe_dense.structures.wording import counted
from pe_dense.visualization import ColorBy, draw_instances, save_image

logger = logging.getLogger(__name__)

IMAGE_FORMATS = ("png", "jpg")


@dataclass
class PredictionReport:
    """What :func:`predict_files` did.

    Attributes:
        json_file: the ``predictions.json``.
        images: how many images were predicted.
        frames: how many frames of videos were predicted.
        objects: how many objects were found in them.
        rejected: how many more had a score below the threshold.
        highest_score: of all objects, rejected ones included; 0 if there is none.
        written: pictures and videos.
        skipped: for each file that could not be read, why.
    """

    json_file: Path
    images: int = 0
    frames: int = 0
    objects: int = 0
    rejected: int = 0
    highest_score: float = 0.0
    written: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        frames = f" and {counted(self.frames, 'video frame')}" if self.frames else ""
        skipped = f"; skipped, because they could not be read: {len(self.skipped)}" if self.skipped else ""
        return f"{counted(self.objects, 'object')} in {counted(self.images, 'image')}{frames}{skipped}"


def predict_files(
    predictor: Predictor,
    inputs: Sequence[str | os.PathLike[str]],
    output_dir: str | Path,
    *,
    draw: bool = True,
    image_format: str = "png",
    every: int = 1,
    batch_size: int = 1,
    color_by: ColorBy = "class",
) -> PredictionReport:
    """Predict images and videos; draw the objects and write them as COCO json.

    The output folder holds one picture per image and one video per video, named and arranged like the inputs, and the
    files that :class:`~pe_dense.prediction.ResultsWriter` describes; their ``file_name`` is relative to
    ``info.image_root``, and ``video.mp4#12`` for the frame numbered 12 from 0 (also as ``video_id`` and ``frame_id``).
    Files that cannot be read are skipped with a warning. Memory does not grow with the number or length of the inputs.
    After an error or Ctrl-C in between, everything finished until then is written.

    Args:
        predictor: says which objects count (its score threshold).
        inputs: images, videos, folders and patterns, see :func:`~pe_dense.prediction.inputs.find_inputs`.
        output_dir: is made if need be; files of an earlier run in it are replaced.
        draw: False writes the json files only.
        image_format: "png" or "jpg".
        every: predict only every N-th frame of a video; the drawn video then has 1/N of the frames per second.
        batch_size: images or frames in one forward pass.
        color_by: "class" or "instance": what has a colour of its own in the pictures.

    Raises:
        FileNotFoundError: if an input matches nothing.
        ValueError: for an argument out of range, a picture that would overwrite an input, or unusable predictions.
        OSError: if the output cannot be written.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f'the image format must be one of {", ".join(IMAGE_FORMATS)}, it is "{image_format}"')
    for name, value in (("every", every), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, it is {value}")
    if predictor.categories is None:
        raise ValueError("the predictor has no class names; give it categories")
    output_dir = Path(output_dir)
    root, files = find_inputs(inputs, output_dir)
    targets: dict[str, Path] = {}
    if draw:
        check_output_folder(files, output_dir)
        names = name_outputs(files, f".{image_format}")
        targets = {file.name: output_dir / name for file, name in zip(files, names)}
        check_no_input_is_overwritten(files, list(targets.values()))
    report = PredictionReport(output_dir / PREDICTIONS_NAME)
    info = {"description": "predictions", "image_root": str(root), "score_threshold": predictor.score_threshold}
    results = ResultsWriter(output_dir, predictor.categories, info)
    try:
        with results, ProgressReport() as progress:
            job = _Job(predictor, results, progress, report, targets, every, batch_size, color_by)
            job.predict_images([file for file in files if not file.is_video])
            for file in files:
                if file.is_video:
                    job.predict_video(file)
    finally:
        logger.info("%s", report)
    if report.rejected and not report.objects:
        logger.warning(
            "no object scored %g or more; the highest of %d was %.4g: lower the score threshold (--score-threshold)",
            predictor.score_threshold, report.rejected, report.highest_score,
        )  # fmt: skip
    return report


@dataclass
class _Job:
    """One call of :func:`predict_files`."""

    predictor: Predictor
    results: ResultsWriter
    progress: ProgressReport
    report: PredictionReport
    targets: dict[str, Path]
    every: int
    batch_size: int
    color_by: ColorBy

    def predict_images(self, files: Sequence[InputFile]) -> None:
        self.progress.start("images", "images", len(files))
        for record, image, found in self._predict(self._readable(files)):
            self.report.images += 1
            target = self.targets.get(record["file_name"])
            if target is not None:
                _save(target, self._draw(image, found))
                self.report.written.append(target)

    def predict_video(self, file: InputFile) -> None:
        try:
            reader = VideoReader(file.path, self.every)
        except (OSError, DataError) as error:
            self._skip(error)
            return
        video = self.results.add_video(file.name, reader.size, reader.fps)
        self.progress.start(file.name, "frames", reader.expected_frames)
        target = self.targets.get(file.name)
        writer = VideoWriter(target, reader.fps / self.every) if target is not None else None
        try:
            with reader, writer or nullcontext():
                for _, image, found in self._predict(self._frames(reader, file.name, video["id"])):
                    self.report.frames += 1
                    video["length"] += 1
                    if writer is not None:
                        writer.write(self._draw(image, found))
        finally:
            if writer is not None and video["length"]:
                self.report.written.append(writer.path)
        if reader.expected_frames is not None and video["length"] < 0.95 * reader.expected_frames - 1:
            logger.warning(
                "video %s ends early: %d of %d frames could be read; it may be damaged",
                file.path, video["length"], reader.expected_frames,
            )  # fmt: skip

    def _predict(
        self, stream: Iterable[tuple[dict[str, Any], np.ndarray]]
    ) -> Iterator[tuple[dict[str, Any], np.ndarray, Instances]]:
        """Predict a stream of (record, H x W x 3 RGB) batch by batch and note the results."""
        stream = iter(stream)
        while batch := list(islice(stream, self.batch_size)):
            outputs = self.predictor.predict_batch([image for _, image in batch], score_threshold=0.0)
            for (record, image), everything in zip(batch, outputs):
                found = self._above_threshold(everything)
                self.results.add(record, found)
                self.report.objects += len(found)
                yield record, image, found
                self.progress.advance()

    def _above_threshold(self, everything: Instances) -> Instances:
        if everything.scores is None or not len(everything):
            return everything
        found = everything[everything.scores >= self.predictor.score_threshold]
        self.report.rejected += len(everything) - len(found)
        self.report.highest_score = max(self.report.highest_score, float(everything.scores.max()))
        return found

    def _readable(self, files: Sequence[InputFile]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        for file in files:
            try:
                image = decode_image(file.path)
            except (OSError, DataError) as error:
                self._skip(error)
                self.progress.advance()
                continue
            yield {"file_name": file.name, "height": image.shape[0], "width": image.shape[1]}, image

    @staticmethod
    def _frames(reader: VideoReader, name: str, video_id: int) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        for index, frame in reader:
            record = {"file_name": f"{name}#{index}", "height": frame.shape[0], "width": frame.shape[1]}
            yield {**record, "video_id": video_id, "frame_id": index}, frame

    def _draw(self, image: np.ndarray, found: Instances) -> np.ndarray:
        assert self.predictor.categories is not None
        return draw_instances(image, found, self.predictor.categories.names, color_by=self.color_by)

    def _skip(self, error: Exception) -> None:
        self.report.skipped.append(str(error))
        logger.warning("skipped: %s", error)


def _save(path: Path, image: np.ndarray) -> None:
    try:
        save_image(path, image)
    except OSError as error:
        raise OSError(f"could not write {path} ({error.strerror or error}); free some space") from error
