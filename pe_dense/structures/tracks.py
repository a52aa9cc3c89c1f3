"""Objects of one video as columns: ground truth, detections or the results of a tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pe_dense.structures.wording import counted

NO_ID = -1


@dataclass(frozen=True)
class Tracks:
    """N objects of one video, a row each, in any order.

    Made by :meth:`create`, which fills in the columns that are not given.

    Attributes:
        frames: N int64, which frame of the video, from 0.
        ids: N int64, which object; -1 for none (detections, ignored regions).
        boxes: N x 4 float64 XYXY pixels. Readers keep the coordinates of the file, without a shift of the origin.
        scores: N float64.
        classes: N int64, the class numbers of the data set.
        ignored: N bool, whether an annotation is marked as not to be evaluated.
        visibility: N float64, visible share of the object in [0, 1]; 1 where unknown.
        truncation: N int64, KITTI's level (0 = inside the image).
        occlusion: N int64, KITTI's level (0 = fully visible, 3 = unknown).
        masks: N COCO run-length encodings (``size`` and ``counts``), or ``None`` where there are only boxes.
    """

    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    visibility: np.ndarray
    truncation: np.ndarray
    occlusion: np.ndarray
    masks: np.ndarray | None = None

    @classmethod
    def create(
        cls,
        frames: Any,
        boxes: Any,
        ids: Any = None,
        scores: Any = None,
        classes: Any = None,
        ignored: Any = None,
        visibility: Any = None,
        truncation: Any = None,
        occlusion: Any = None,
        masks: Sequence[dict[str, Any]] | np.ndarray | None = None,
    ) -> Tracks:
        """Columns from anything numpy takes; without a value: no id, score 1, class 1, not ignored, fully visible.

        Raises:
            ValueError: if a column has another length than ``frames``.
        """
        count = len(frames)

        def column(name: str, values: Any, default: float, dtype: type) -> np.ndarray:
            result: np.ndarray = np.asarray(np.full(count, default) if values is None else values).astype(dtype)
            if result.shape != (count,):
                raise ValueError(f"{name} has the shape {result.shape}, but there are {counted(count, 'row')}")
            return result

        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        if len(corners) != count:
            raise ValueError(f"there are {counted(len(corners), 'box')}, but {counted(count, 'row')}")
        encoded = None
        if masks is not None:
            encoded = np.empty(len(masks), dtype=object)
            encoded[:] = list(masks)
            if len(encoded) != count:
                raise ValueError(f"there are {counted(len(encoded), 'mask')}, but {counted(count, 'row')}")
        return cls(
            frames=column("frames", frames, 0, np.int64),
            ids=column("ids", ids, NO_ID, np.int64),
            boxes=corners,
            scores=column("scores", scores, 1, np.float64),
            classes=column("classes", classes, 1, np.int64),
            ignored=column("ignored", ignored, 0, bool),
            visibility=column("visibility", visibility, 1, np.float64),
            truncation=column("truncation", truncation, 0, np.int64),
            occlusion=column("occlusion", occlusion, 0, np.int64),
            masks=encoded,
        )

    @classmethod
    def empty(cls, masks: bool = False) -> Tracks:
        """No object at all."""
        return cls.create([], [], masks=[] if masks else None)

    @classmethod
    def cat(cls, parts: Sequence[Tracks]) -> Tracks:
        """Rows of several one after the other; with masks only if all have them."""
        columns: dict[str, Any] = {}
        for column in fields(cls):
            values = [getattr(p, column.name) for p in parts]
            columns[column.name] = None if any(v is None for v in values) else np.concatenate(values)
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        what = "mask" if self.masks is not None else "box"
        frames = len(np.unique(self.frames))
        tracks = len(np.unique(self.ids[self.ids != NO_ID]))
        return f"Tracks({counted(len(self), what)} of {counted(tracks, 'track')} in {counted(frames, 'frame')})"

    def __getitem__(self, index: Any) -> Tracks:
        """Rows by slice, boolean mask or positions."""
        columns: dict[str, Any] = {}
        for column in fields(self):
            values = getattr(self, column.name)
            columns[column.name] = None if values is None else values[index]
        return Tracks(**columns)

    def sorted(self) -> Tracks:
        """Rows by frame; those of a frame keep their order."""
        if len(self) < 2 or bool((self.frames[1:] >= self.frames[:-1]).all()):
            return self
        return self[np.argsort(self.frames, kind="stable")]

    def offsets(self, num_frames: int) -> np.ndarray:
        """Where each frame begins in *sorted* rows: ``num_frames`` + 1 positions, the last one the end."""
        return np.searchsorted(self.frames, np.arange(num_frames + 1))

    @property
    def num_frames(self) -> int:
        """Frames up to the last one with an object."""
        return int(self.frames.max()) + 1 if len(self) else 0
