"""Objects followed through a video file or a folder of frames, from given masks to mask files and a drawn video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pe_dense.data import DataError, read_object_ids, write_indexed_png
from pe_dense.data.image_io import decode_image
from pe_dense.engine.trainer import autocast
from pe_dense.modeling.tracking import VideoObjectTracker, follow
from pe_dense.prediction.frame_writers import DrawAs, open_writer
from pe_dense.prediction.progress import ProgressReport
from pe_dense.prediction.video_io import VideoReader
from pe_dense.prediction.video_sources import check_stems, image_files
from pe_dense.structures import Instances
from pe_dense.visualization import draw_instances

logger = logging.getLogger(__name__)

_FOLDER_FPS = 24.0  # DAVIS's


@dataclass
class TrackedVideo:
    """What :func:`track_video` wrote.

    Attributes:
        masks: folder of the mask files.
        video: the drawn video, or folder of pictures; None if none was asked for.
        frames: how many frames were read.
        object_ids: of all objects.
    """

    masks: Path
    video: Path | None
    frames: int
    object_ids: list[int]


def track_video(
    tracker: VideoObjectTracker,
    video: str | Path,
    masks: str | Path,
    output_dir: str | Path,
    draw: bool = True,
    every: int = 1,
    fps: float = _FOLDER_FPS,
    precision: str = "fp32",
    draw_as: DrawAs = "mp4",
) -> TrackedVideo:
    """Follow objects through a video and write ``<name>/<frame>.png`` for each frame, ready to be submitted to DAVIS,
    and ``<name>.mp4``, in which a frame stays as long as in the video.

    Args:
        tracker: on its device.
        video: a video file, or a folder of frames, read in natural order (``2.png`` before ``10.png``).
        masks: an indexed PNG for the first frame; or a folder with such files for several frames, named like the
            frames (of a video file by their number from 0): of each object the first mask is taken. Frames before the
            first mask are background.
        output_dir: folder to write into.
        draw: whether to write the video.
        every: take frames 0, N, 2N, ...
        fps: of the drawn video of a folder.
        precision: of the encoder, "fp32" or "bf16".
        draw_as: format of the drawn video; "frames": pictures ``<name>_frames/<frame>.jpg``.

    Raises:
        FileNotFoundError: if video or masks do not exist.
        ValueError, DataError: if they cannot be read or do not fit together; what was written before stays.
    """
    video, masks, output_dir = Path(video), Path(masks), Path(output_dir)
    frames, count, rate = _open(video, masks, every, fps)
    given = _given_masks(masks, [] if video.is_file() else [path.stem for path in _frame_files(video, masks)])
    folder = output_dir / (video.stem if video.is_file() else video.resolve().name)
    if folder.resolve() in (video.resolve(), masks.resolve(), masks.resolve().parent):
        raise ValueError(f"the output {folder} would overwrite an input; choose another output folder")
    writer = open_writer(output_dir, folder.name, draw_as, rate / every) if draw else None
    done = 0
    tracker.reset(folder.name)
    with writer or nullcontext(), ProgressReport() as progress:
        progress.start(folder.name, "frames", count)
        for name, time, frame in frames:
            masks_now = given(name)
            try:
                with autocast(tracker.device, precision), torch.no_grad():
                    labels = follow(tracker, frame, masks_now)
            except (TypeError, ValueError) as error:
                raise DataError(f"{video}, frame {name}: {error}") from error
            write_indexed_png(folder / f"{name}.png", labels)
            if writer is not None:
                writer.write(draw_masks(frame, labels), time, name)
            done += 1
            progress.advance()
    if not tracker.object_ids:
        raise DataError(f"masks {masks} hold no object for any frame of {video}: all {done} masks written are empty")
    return TrackedVideo(folder, writer.path if writer is not None else None, done, tracker.object_ids)


def draw_masks(frame: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Objects with their ids over a frame: H' x W' x 3 uint8 RGB, see :func:`draw_instances`."""
    ids = [int(value) for value in np.unique(labels) if value]
    boxes = torch.zeros(len(ids), 4)
    for box, value in zip(boxes, ids):
        # the label goes with the largest part: around all of them it may stand where there is nothing
        _, _, parts, _ = cv2.connectedComponentsWithStats((labels == value).astype(np.uint8))
        left, top, width, height, _ = parts[1 + int(np.argmax(parts[1:, cv2.CC_STAT_AREA]))].tolist()
        box[:] = torch.tensor([left, top, left + width, top + height])
    shown = torch.from_numpy(labels == np.array(ids, dtype=labels.dtype)[:, None, None])
    instances = Instances(labels.shape, boxes, masks=shown, track_ids=torch.tensor(ids, dtype=torch.int64))
    return draw_instances(frame, instances, color_by="instance", show_boxes=False)


def _frame_files(folder: Path, masks: Path) -> list[Path]:
    """Pictures directly in a folder, in natural order, without the masks, which may lie beside them."""
    if not folder.exists():
        raise FileNotFoundError(f"video {folder} does not exist; check the path")
    files = [f for f in image_files(folder) if f.resolve() != masks.resolve()]
    if not files:
        raise FileNotFoundError(f"folder {folder} holds no frames; give the folder of one video's pictures")
    check_stems(folder, files)
    return files


def _open(
    video: Path, masks: Path, every: int, fps: float
) -> tuple[Iterator[tuple[str, float, np.ndarray]], int | None, float]:
    """Names, times and pictures of the frames, their number (None: unknown) and their rate."""
    if video.is_file():
        reader = VideoReader(video, every)
        return _read_file(reader), reader.expected_frames, reader.fps
    if every < 1:
        raise ValueError(f"every must be at least 1, it is {every}")
    if not fps > 0:
        raise ValueError(f"fps must be above 0, it is {fps}")
    files = _frame_files(video, masks)[::every]
    return ((path.stem, i * every / fps, decode_image(path)) for i, path in enumerate(files)), len(files), fps


def _read_file(reader: VideoReader) -> Iterator[tuple[str, float, np.ndarray]]:
    with reader:
        for index, time, frame in reader.frames():
            yield f"{index:05d}", time, frame


def _given_masks(masks: Path, frames: list[str]) -> Callable[[str], np.ndarray | None]:
    """What reads the masks of a frame by its name, None if it has none.

    Args:
        masks: file of the first frame, or folder.
        frames: names of a folder's frames; empty for a video file.
    """
    if not masks.is_dir():
        unread = [read_object_ids(masks)]
        return lambda name: unread.pop() if unread else None
    files = {path.stem: path for path in sorted(masks.iterdir()) if path.suffix.lower() == ".png"}
    if not frames:
        files = {f"{int(stem):05d}": path for stem, path in files.items() if stem.isdecimal()}
    if not files or (frames and not files.keys() & set(frames)):
        raise FileNotFoundError(f"folder {masks} holds no mask of a frame: name the PNGs like the frames")
    return lambda name: read_object_ids(files[name]) if name in files else None
