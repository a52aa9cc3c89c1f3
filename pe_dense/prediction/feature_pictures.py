"""Features of images and videos as sheets, videos and a page."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from pe_dense.data import DataError
from pe_dense.data.image_io import decode_image
from pe_dense.prediction.encoder_view import EncoderView
from pe_dense.prediction.feature_painters import (
    AttentionPainter,
    ClusterPainter,
    Fit,
    Painter,
    PcaPainter,
    Seen,
    SimilarityPainter,
)
from pe_dense.prediction.inputs import InputFile, check_no_input_is_overwritten, check_output_folder, find_inputs
from pe_dense.prediction.progress import ProgressReport
from pe_dense.prediction.video_io import VideoReader, VideoWriter
from pe_dense.visualization import contact_sheet, write_features_page

logger = logging.getLogger(__name__)

FeatureKind = Literal["pca", "similarity", "clusters", "attention"]
KINDS: tuple[FeatureKind, ...] = ("pca", "similarity", "clusters", "attention")
PAGE_NAME = "features.html"
_FIT_FRAMES = 16


@dataclass(frozen=True)
class FeatureDrawing:
    """What to draw.

    Attributes:
        kinds: some of ``pca``, ``similarity``, ``clusters`` and ``attention``.
        layers: blocks of the encoder, 0-based, negative ones count from the last; a column each.
        fit: colours of ``pca`` common to all images (of a video: all frames) or each image's own.
        masks: folder with a picture for each image, ``<name without extension>.png``, 0 where the background is; then
            ``pca`` is fitted to, and shows, the foreground only.
        point: (x, y) in pixels of the first image, ``None`` for its middle: what the others are compared to, and which
            patch attends (in the other images, the one at the same place).
        cls_attention: the class token attends instead.
        head: attention of this head, ``None`` for the mean of all.
        clusters: how many.
        page: also write the interactive page, of images.
        every: only every N-th frame of videos.
        cell: width of each picture in pixels.
    """

    kinds: Sequence[FeatureKind] = ("pca",)
    layers: Sequence[int] = (-1,)
    fit: Fit = "set"
    masks: Path | None = None
    point: tuple[float, float] | None = None
    cls_attention: bool = False
    head: int | None = None
    clusters: int = 8
    page: bool = False
    every: int = 1
    cell: int = 320


def visualize_features(
    view: EncoderView, inputs: Sequence[str | os.PathLike[str]], output_dir: str | Path, drawing: FeatureDrawing
) -> list[Path]:
    """Draw features of images and videos. Pictures that cannot be read are skipped with a warning.

    Images are drawn together: one sheet per kind (``pca.png``), a row per image, a column per layer. A video becomes a
    video per kind (``<name>_pca.mp4``) with a frame and its layers side by side; it is fitted to 16 of its frames. All
    features of the images are in memory at once, those of a video are not.

    Args:
        view: the encoder.
        inputs: images, videos, folders and patterns, see :func:`~pe_dense.prediction.inputs.find_inputs`.
        output_dir: is made if need be.
        drawing: what to draw.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: if an input or a mask does not exist.
        ValueError: for settings that the encoder or the first image does not have.
        OSError: if the output cannot be written.
    """
    output_dir = Path(output_dir)
    _, files = find_inputs(inputs, output_dir)
    check_output_folder(files, output_dir)
    job = _Job(view, drawing, [view.block(layer) for layer in drawing.layers], output_dir)
    with ProgressReport() as progress:
        images = [file for file in files if not file.is_video]
        written = job.draw_images(images, progress) if images else []
        for file in files:
            if file.is_video:
                written += job.draw_video(file, progress)
    return written


@dataclass
class _Job:
    view: EncoderView
    drawing: FeatureDrawing
    blocks: list[int]
    output_dir: Path

    def draw_images(self, files: Sequence[InputFile], progress: ProgressReport) -> list[Path]:
        """All images together."""
        progress.start("images", "images", len(files))
        images, seen = [], []
        for file, name in zip(files, _short_names(files)):
            try:
                image = decode_image(file.path)
            except (OSError, DataError) as error:
                logger.warning("skipped: %s", error)
                continue
            images.append(image)
            seen.append(self._see(name, image, self.drawing.masks))
            progress.advance()
        if not seen:
            return []
        written = []
        for kind, painter in self._painters(images[0]):
            painter.fit(seen)
            pictures = [picture for one in seen for picture in self._row(painter, one)]
            titles = [title for one in seen for title in (one.name, *self._titles())]
            target = self.output_dir / f"{kind}.png"
            check_no_input_is_overwritten(files, [target])
            contact_sheet(pictures, titles, 1 + len(self.blocks), self.drawing.cell, target)
            written.append(target)
        if self.drawing.page:
            layers = {title: [one.features[i] for one in seen] for i, title in enumerate(self._titles())}
            target = self.output_dir / PAGE_NAME
            write_features_page(target, [s.picture for s in seen], [s.name for s in seen], layers)
            written.append(target)
        return written

    def draw_video(self, file: InputFile, progress: ProgressReport) -> list[Path]:
        """One video per kind; frames are read again for each."""
        try:
            sample = list(self._sample(file))
        except (OSError, DataError) as error:
            logger.warning("skipped: %s", error)
            return []
        seen = [self._see(file.name, frame) for frame in sample]
        written = []
        for kind, painter in self._painters(sample[0]):
            painter.fit(seen)
            target = self.output_dir / f"{Path(file.name).with_suffix('')}_{kind}.mp4"
            check_no_input_is_overwritten([file], [target])
            with (
                VideoReader(file.path, self.drawing.every) as reader,
                VideoWriter(target, reader.fps / self.drawing.every) as writer,
            ):
                progress.start(f"{file.name}, {kind}", "frames", reader.expected_frames)
                for _, time, frame in reader.frames():
                    row = self._row(painter, self._see(file.name, frame))
                    writer.write(contact_sheet(row, [file.name, *self._titles()], len(row), self.drawing.cell), time)
                    progress.advance()
            written.append(writer.path)
        return written

    def _sample(self, file: InputFile) -> Iterator[np.ndarray]:
        """Up to 16 frames spread over a video, the first among them."""
        with VideoReader(file.path) as reader:
            step = max(1, (reader.expected_frames or _FIT_FRAMES) // _FIT_FRAMES)
        with VideoReader(file.path, step) as reader:
            yield from (frame for _, frame in islice(reader, _FIT_FRAMES))

    def _painters(self, first: np.ndarray) -> list[tuple[FeatureKind, Painter]]:
        drawing, (height, width) = self.drawing, first.shape[:2]
        x, y = drawing.point or (width / 2, height / 2)
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"point {x:g}, {y:g} lies outside the first image, which is {width} x {height}")
        point = (x / width, y / height)
        token = None if drawing.cls_attention else point
        make: dict[FeatureKind, Painter] = {
            "pca": PcaPainter(drawing.fit),
            "similarity": SimilarityPainter(point),
            "clusters": ClusterPainter(drawing.clusters),
            "attention": AttentionPainter(self.view, self.blocks, token, drawing.head),
        }
        return [(kind, make[kind]) for kind in drawing.kinds]

    def _titles(self) -> list[str]:
        return [f"layer {block}" for block in self.blocks]

    def _row(self, painter: Painter, seen: Seen) -> list[np.ndarray]:
        return [seen.picture, *(painter.paint(seen, layer) for layer in range(len(self.blocks)))]

    def _see(self, name: str, image: np.ndarray, masks: Path | None = None) -> Seen:
        picture = self.view.shown(image)
        features = self.view.features(picture, self.blocks)
        foreground = None
        if masks is not None:
            mask = (decode_image(masks / f"{Path(name).stem}.png").max(axis=2) > 0).astype(np.float32)
            foreground = cv2.resize(mask, features[0].shape[:0:-1], interpolation=cv2.INTER_AREA) >= 0.5
        return Seen(name, picture, features, foreground)


def _short_names(files: Sequence[InputFile]) -> list[str]:
    """Names without folders, if that leaves them different."""
    names = [Path(file.name).name for file in files]
    return names if len(set(names)) == len(names) else [file.name for file in files]
