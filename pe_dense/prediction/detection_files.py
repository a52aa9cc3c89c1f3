"""Detections of a video's frames from files: MOTChallenge text, COCO json."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask

from pe_dense.data import DataError
from pe_dense.data.mot import read_mot_detections
from pe_dense.evaluation.json_file import read_json
from pe_dense.prediction.file_masks import compressed_rle
from pe_dense.prediction.video_sources import natural_order
from pe_dense.structures import Categories, Instances

logger = logging.getLogger(__name__)


class _Segmentation(NamedTuple):
    """Of the json: which annotation, and what it says about its mask."""

    number: int
    content: Any


class FileDetections:
    """What a file says about the frames of one video.

    A ``.txt`` is MOTChallenge's ``det.txt``. A ``.json`` is a COCO data set whose annotations have scores, as
    ``tools/predict.py`` writes it, with ``segmentation`` (polygons or RLE, see :func:`compressed_rle`) or without: its
    images are matched with the frames by name, whatever their folder ("clip.mp4#12" is frame 12 of a video, from 0).
    Rows may come in any order; a frame without any has no objects. Where only some objects have a ``segmentation`` the
    masks of the others are empty, with a warning.

    Args:
        path: the file.
        frames: the numbers of the frames (from 0) by the names of their images, or the name of a video file, see above;
            None: the images are the frames, by ``frame_id`` (from 0) if all have one, else in the order of their names.
        score_range: scores at which 0 and 1 lie, for detectors whose scores are of another kind; what lies outside is
            cut off.

    Attributes:
        categories: of a json; None for text.
        num_frames: up to the last one with a detection, or with an image in the json.
        has_masks: whether objects come with masks.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if something in it is wrong (NaN, negative size, a score outside 0..1), no image is a frame, or
            several are the same.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        frames: Mapping[str, int] | str | None = None,
        score_range: tuple[float, float] | None = None,
    ) -> None:
        self.path = Path(path)
        if score_range is not None and not score_range[0] < score_range[1]:
            raise ValueError(f"the range of scores must be ascending, it is {score_range[0]:g} to {score_range[1]:g}")
        self._range = score_range
        self.categories: Categories | None = None
        self._masks: dict[int, list[_Segmentation]] = {}
        if self.path.suffix.lower() == ".json":
            self._frames, self.num_frames = self._read_coco(frames)
        else:
            self._frames, self.num_frames = self._read_mot()

    def __call__(self, frame: int, size: tuple[int, int]) -> Instances:
        """Objects of a frame, numbered from 0, of (height, width) ``size``: boxes, scores, classes, masks if given."""
        table = self._frames.get(frame, np.zeros((0, 6)))
        values = torch.from_numpy(table)
        return Instances(
            size,
            values[:, :4].float(),
            classes=values[:, 5].long(),
            scores=values[:, 4].float(),
            masks=torch.from_numpy(self._decoded(frame, size)) if self.has_masks else None,
        )

    @property
    def has_masks(self) -> bool:
        """See the class."""
        return bool(self._masks)

    def _read_mot(self) -> tuple[dict[int, np.ndarray], int]:
        found = read_mot_detections(self.path)
        scores = self._scaled(found.scores, "scores")
        table = np.concatenate([found.boxes, scores[:, None], np.zeros((len(found), 1))], axis=1)
        starts = found.offsets(found.num_frames)
        return {f: table[starts[f] : starts[f + 1]] for f in range(found.num_frames)}, found.num_frames

    def _read_coco(self, numbers: Mapping[str, int] | str | None) -> tuple[dict[int, np.ndarray], int]:
        content = read_json(self.path, "detections")
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
            raise DataError(
                f"detections {self.path}: give a COCO data set with images, annotations and categories, such as "
                f"predictions.json of tools/predict.py; a list of results does not say which image is which frame"
            )
        self.categories = Categories.from_json(content["categories"])
        index = {category: i for i, category in enumerate(self.categories.ids)}
        frames = self._frames_of(content["images"], numbers)
        rows: dict[int, list[list[float]]] = {}
        masks: dict[int, list[_Segmentation]] = {}
        for number, row in enumerate(content["annotations"]):
            frame = frames.get(row.get("image_id"))
            if frame is not None:
                rows.setdefault(frame, []).append(self._coco_row(number, row, index))
                masks.setdefault(frame, []).append(_Segmentation(number, row.get("segmentation")))
        self._masks = self._checked_masks(masks)
        return {frame: np.array(each) for frame, each in rows.items()}, max(frames.values(), default=-1) + 1

    def _frames_of(
        self, images: Sequence[Mapping[str, Any]], numbers: Mapping[str, int] | str | None
    ) -> dict[Any, int]:
        """Image id -> frame."""
        try:
            names = {image["id"]: str(image.get("file_name", "")) for image in images}
        except (KeyError, TypeError) as error:
            raise DataError(f"detections {self.path}: an image has no id ({error!r}); write the file again") from None
        if numbers is None:
            found = {image["id"]: image.get("frame_id") for image in images}
            if not all(isinstance(number, int) and number >= 0 for number in found.values()):
                order = sorted(names, key=lambda key: natural_order(names[key]))
                found = {key: number for number, key in enumerate(order)}
        else:
            found = {key: _number(Path(name).name, numbers) for key, name in names.items()}
        frames = {key: number for key, number in found.items() if number is not None}
        if not frames:
            shown = repr(next(iter(names.values()))) if names else "none"
            first = f"{numbers}#0" if isinstance(numbers, str) else next(iter(numbers or ()), None)
            raise DataError(
                f"detections {self.path} are of other images: the first is {shown}, the first frame {first!r}"
            )
        without = len(numbers) - len(set(frames.values())) if isinstance(numbers, Mapping) else 0
        if without:
            logger.warning(
                "detections %s: %d of the %d frames are not among its images, they count as frames without objects",
                self.path, without, len(numbers or ()),
            )  # fmt: skip
        taken: dict[int, Any] = {}
        for key, frame in frames.items():
            if taken.setdefault(frame, key) != key:
                raise DataError(
                    f"detections {self.path}: the images {names[taken[frame]]!r} and {names[key]!r} are both frame "
                    f"{frame} (from 0); give a file of this video alone"
                )
        return frames

    def _coco_row(self, number: int, row: Mapping[str, Any], index: Mapping[int, int]) -> list[float]:
        where = f"detections {self.path}, annotations[{number}]"
        try:
            x, y, width, height = (float(v) for v in row["bbox"])
            score, label = float(row["score"]), index[row["category_id"]]
        except (KeyError, TypeError, ValueError) as error:
            missing = [key for key in ("bbox", "score", "category_id") if row.get(key) is None]
            what = f"{' and '.join(missing)} missing" if missing else f"{error}"
            hint = "; is it ground truth, which has no scores?" if missing == ["score"] else ""
            raise DataError(f"{where}: needs bbox, score and the category_id of a category ({what}){hint}") from None
        if not np.isfinite([x, y, width, height, score]).all() or min(width, height) < 0:
            raise DataError(
                f"{where}: bbox {row['bbox']} with score {score} is not finite or of negative size; remove it"
            )
        return [x, y, x + width, y + height, float(self._scaled(np.array([score]), where)[0]), float(label)]

    def _scaled(self, scores: np.ndarray, where: str) -> np.ndarray:
        if self._range is not None:
            low, high = self._range
            return np.clip((scores - low) / (high - low), 0, 1)
        if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
            raise DataError(
                f"detections {self.path}: {where} from {scores.min():g} to {scores.max():g} are not within 0..1; give "
                f"the range that 0 and 1 stand for (--score-range)"
            )
        return scores

    def _checked_masks(self, masks: dict[int, list[_Segmentation]]) -> dict[int, list[_Segmentation]]:
        """What there is of masks; nothing if no object has one."""
        every = [mask for each in masks.values() for mask in each]
        without = [mask.number for mask in every if not mask.content]
        if len(without) == len(every):
            return {}
        if without:
            logger.warning(
                "detections %s: %d of %d objects have no segmentation (the first is annotations[%d]), their masks are "
                "empty", self.path, len(without), len(every), without[0],
            )  # fmt: skip
        return masks

    def _decoded(self, frame: int, size: tuple[int, int]) -> np.ndarray:
        """N x H x W bool."""
        rles = []
        for number, content in self._masks.get(frame, []):
            try:
                rles.append(compressed_rle(content, size))
            except ValueError as error:
                raise DataError(
                    f"detections {self.path}: the segmentation of annotations[{number}] {error}; correct it or remove "
                    "the annotation"
                ) from None
        if not rles:
            return np.zeros((0, *size), dtype=bool)
        decoded: np.ndarray = coco_mask.decode(rles).transpose(2, 0, 1).astype(bool)
        return decoded


def _number(name: str, numbers: Mapping[str, int] | str) -> int | None:
    """The frame that an image's name means, None if it is of another video."""
    if not isinstance(numbers, str):
        return numbers.get(name)
    video, _, digits = name.rpartition("#")
    return int(digits) if video == numbers and digits.isdecimal() else None
