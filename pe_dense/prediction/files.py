"""Images and videos in; pictures, videos and results out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
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
from pe_dense.prediction.map_results import DEPTH_FORMATS, DepthFormat, MapWriter
from pe_dense.prediction.predictor import Predictor
from pe_dense.prediction.progress import ProgressReport
from pe_dense.prediction.report import PredictionReport
from pe_dense.prediction.video_io import OnError, VideoReader, VideoWriter
from pe_dense.structures import Categories, Instances
from pe_dense.structures.wording import nothing_above
from pe_dense.visualization import (
    ColorBy,
    Intrinsics,
    PredictionPainter,
    PredictionStyle,
    point_cloud,
    save_image,
    save_ply,
)

logger = logging.getLogger(__name__)

IMAGE_FORMATS = ("png", "jpg")
Camera = Intrinsics | float
"""Of all images, or the horizontal field of view in degrees of a camera that looks through the middle of each."""

_TASKS = ("instances", "depth", "sem_seg")


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
    depth_format: DepthFormat = "png",
    depth_range: tuple[float, float] | None = None,
    camera: Camera | None = None,
    on_error: OnError = "skip",
) -> PredictionReport:
    """Predict images and videos; draw what the model finds and write it as files.

    The output folder holds one picture per image and one video per video, named and arranged like the inputs. Objects
    are written as :class:`~pe_dense.prediction.ResultsWriter` describes; their ``file_name`` is relative to
    ``info.image_root``, and ``video.mp4#12`` for the frame numbered 12 from 0 (also as ``video_id`` and ``frame_id``).
    Depth and labels are written as :class:`~pe_dense.prediction.map_results.MapWriter` describes. The frames of a video
    keep their times, in seconds also as ``time`` in the results. Files and frames that cannot be read are skipped with
    a warning. Of each image only its name stays in memory. After an error or Ctrl-C in between, everything finished
    until then is written.

    Args:
        predictor: says which objects count (its score threshold).
        inputs: images, videos, folders and patterns, see :func:`~pe_dense.prediction.inputs.find_inputs`.
        output_dir: is made if need be; files of an earlier run in it are replaced.
        draw: False writes the results only.
        image_format: "png" or "jpg".
        every: predict only every N-th frame of a video; the drawn video then has 1/N of the frames per second.
        batch_size: images or frames in one forward pass.
        color_by: "class" or "instance": what has a colour of its own among the objects.
        depth_format: "png": 16 bits with a scale; "npy": float32.
        depth_range: values at the ends of the depth's colours; None takes those of each picture.
        camera: writes the depth of each image as a coloured point cloud, ``point_clouds/photos/a.ply``.
        on_error: "stop" raises at the first file or frame that cannot be read.

    Raises:
        DataError: if ``on_error`` is "stop" and something cannot be read.
        FileNotFoundError: if an input matches nothing.
        ValueError: for an argument out of range, a file that would overwrite an input, or unusable predictions.
        OSError: if the output cannot be written.
    """
    for what, choice, choices in (
        ("image", image_format, IMAGE_FORMATS),
        ("depth", depth_format, DEPTH_FORMATS),
    ):
        if choice not in choices:
            raise ValueError(f'the {what} format must be one of {", ".join(choices)}, it is "{choice}"')
    for name, value in (("every", every), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, it is {value}")
    if depth_range is not None and not depth_range[0] < depth_range[1]:
        raise ValueError(f"the range of depths must be ascending, it is {depth_range[0]:g} to {depth_range[1]:g}")
    output_dir = Path(output_dir)
    root, files = find_inputs(inputs, output_dir)
    targets: dict[str, Path] = {}
    if draw:
        check_output_folder(files, output_dir)
        names = name_outputs(files, f".{image_format}")
        targets = {file.name: output_dir / name for file, name in zip(files, names)}
        check_no_input_is_overwritten(files, list(targets.values()))
    report = PredictionReport()
    info = {"description": "predictions", "image_root": str(root), "score_threshold": predictor.score_threshold}
    results = ResultsWriter(output_dir, predictor.categories or Categories((), ()), info)
    maps = MapWriter(output_dir, files, list(targets.values()), root, predictor.max_depth, depth_format)
    style = PredictionStyle(color_by=color_by, depth_kind=predictor.depth_kind, depth_range=depth_range)
    try:
        with results, maps, ProgressReport() as progress:
            job = _Job(predictor, results, maps, progress, report, targets, every, batch_size, style, camera, on_error)
            job.predict_images([file for file in files if not file.is_video])
            for file in files:
                if file.is_video:
                    job.predict_video(file)
    finally:
        objects = [output_dir / PREDICTIONS_NAME] if "instances" in report.tasks else []
        report.json_files = [*objects, *maps.index_files]
        logger.info("%s", report)
    if report.rejected and not report.objects:
        logger.warning(nothing_above(predictor.score_threshold, report.rejected, report.highest_score))
    return report


@dataclass
class _Job:
    """One call of :func:`predict_files`."""

    predictor: Predictor
    results: ResultsWriter
    maps: MapWriter
    progress: ProgressReport
    report: PredictionReport
    targets: dict[str, Path]
    every: int
    batch_size: int
    style: PredictionStyle
    camera: Camera | None
    on_error: OnError

    def predict_images(self, files: Sequence[InputFile]) -> None:
        self.progress.start("images", "images", len(files))
        for record, image, output in self._predict(self._readable(files)):
            self.report.images += 1
            target = self.targets.get(record["file_name"])
            if target is not None:
                picture = PredictionPainter(self.style).draw(image, output)
                self._save(target, partial(save_image, target, picture))
            if self.camera is not None:
                self._save_point_cloud(record["file_name"], image, output)

    def predict_video(self, file: InputFile) -> None:
        try:
            reader = VideoReader(file.path, self.every, on_error=self.on_error)
        except (OSError, DataError) as error:
            self._skip(error)
            return
        video = self.results.add_video(file.name, reader.size, reader.fps)
        self.progress.start(file.name, "frames", reader.expected_frames)
        target = self.targets.get(file.name)
        writer = VideoWriter(target, reader.fps / self.every) if target is not None else None
        painter: PredictionPainter | None = None
        try:
            with reader, writer or nullcontext():
                for record, image, output in self._predict(self._frames(reader, file.name, video["id"])):
                    self.report.frames += 1
                    video["length"] += 1
                    if writer is not None:
                        painter = painter or PredictionPainter(self.style, steady=True)
                        writer.write(painter.draw(image, output), record["time"])
        finally:
            self.report.broken_frames += len(reader.broken)
            if writer is not None and video["length"]:
                self.report.written.append(writer.path)

    def _predict(
        self, stream: Iterable[tuple[dict[str, Any], np.ndarray]]
    ) -> Iterator[tuple[dict[str, Any], np.ndarray, dict[str, Any]]]:
        """Predict a stream of (record, H x W x 3 RGB) batch by batch and note the results."""
        stream = iter(stream)
        while batch := list(islice(stream, self.batch_size)):
            outputs = self.predictor.predict_outputs([image for _, image in batch])
            for (record, image), output in zip(batch, outputs):
                if not self.report.tasks:
                    self._begin(output)
                if "instances" in output:
                    output["instances"] = self._above_threshold(output["instances"])
                    self.results.add(record, output["instances"])
                    self.report.objects += len(output["instances"])
                self.maps.add(record, output)
                yield record, image, output
                self.progress.advance()

    def _begin(self, output: dict[str, Any]) -> None:
        """What depends on the tasks, which the first output tells."""
        tasks = [task for task in _TASKS if task in output]
        if not tasks:
            raise ValueError(f"the model predicts {', '.join(output) or 'nothing'}, not one of {', '.join(_TASKS)}")
        categories, labels = self.predictor.categories, self.predictor.label_names
        if "instances" in tasks and categories is None:
            raise ValueError("the predictor has no class names; give it categories")
        if self.camera is not None and self.predictor.depth_kind != "metric":
            raise ValueError(f"point clouds need depth in metres, the model predicts {self.predictor.depth_kind}")
        if self.camera is not None and "depth" not in tasks:
            raise ValueError(f"point clouds need depth, the model predicts {', '.join(tasks)}")
        if labels is None and categories is not None and "instances" not in tasks:
            labels = categories.names
        self.maps.classes = labels
        self.style = replace(self.style, names=categories.names if categories else None, label_names=labels)
        self.report.tasks = tasks

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
        for index, time, image in reader.frames():
            record = {"file_name": f"{name}#{index}", "height": image.shape[0], "width": image.shape[1]}
            yield {**record, "video_id": video_id, "frame_id": index, "time": round(time, 6)}, image

    def _save_point_cloud(self, name: str, image: np.ndarray, output: dict[str, Any]) -> None:
        camera = self.camera
        if isinstance(camera, (int, float)):
            camera = Intrinsics.from_field_of_view(image.shape[0], image.shape[1], camera)
        assert camera is not None
        points, colors = point_cloud(output["depth"], image, camera)
        path = self.maps.path("point_clouds", name)
        self._save(path, partial(save_ply, path, points, colors))

    def _skip(self, error: Exception) -> None:
        if self.on_error == "stop":
            raise error
        self.report.skipped.append(str(error))
        logger.warning("skipped: %s", error)

    def _save(self, path: Path, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise OSError(f"could not write {path} ({error.strerror or error}); free some space") from error
        self.report.written.append(path)
