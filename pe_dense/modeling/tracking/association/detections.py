"""The detections of one frame, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pe_dense.modeling.tracking.association.mask_overlap import no_shapes, shapes_of
from pe_dense.structures import Instances

_COLUMNS = "x1, y1, x2, y2, score (default 1), class (default 0)"


@dataclass(frozen=True)
class FrameDetections:
    """M objects that a detector found in one frame.

    Attributes:
        boxes: M x 4 float64, XYXY absolute pixels, each with an area.
        scores: M float64 in [0, 1].
        classes: M int64.
        rows: M int64, which of the objects given each one is.
        embeddings: M x E float64 of length 1 (0 if there is nothing to tell from), or None.
        shapes: M x SIDE x SIDE float32, their masks, see :func:`shapes_of`; M x 0 x 0 if they are not looked at.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    rows: np.ndarray
    embeddings: np.ndarray | None
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(
        cls,
        objects: Instances | np.ndarray,
        embeddings: Tensor | np.ndarray | None = None,
        least_score: float = 0.0,
        use_masks: bool = False,
    ) -> FrameDetections:
        """From objects as a detector or a file gives them.

        Objects without area, as detectors make them at the image border, and those that score no more than
        ``least_score`` are left out.

        Args:
            objects: with or without scores and classes; an array has the columns x1, y1, x2, y2, score and class, of
                which the last or the last two may be missing, and may have no rows in any shape.
            embeddings: a row per object.
            least_score: see above.
            use_masks: whether ``shapes`` are wanted.

        Raises:
            ValueError: for another shape; a number that is not finite; a corner x2, y2 left of or above x1, y1; a score
                outside [0, 1]. It names the row. Or if there are no masks that are wanted.
        """
        boxes, scores, classes = _columns_of(objects)
        _check(boxes, scores)
        vectors = _checked_embeddings(embeddings, len(boxes))
        used = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (scores > least_score)
        rows = np.flatnonzero(used)
        shapes = _shapes_of(objects, rows) if use_masks else no_shapes(len(rows))
        looks = None if vectors is None else vectors[rows]
        return cls(boxes[rows], scores[rows], classes[rows], rows, looks, shapes)


def _columns_of(objects: Instances | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and classes."""
    if isinstance(objects, Instances):
        boxes = objects.boxes.detach().cpu().double().numpy()
        scores = np.ones(len(boxes)) if objects.scores is None else objects.scores.detach().cpu().double().numpy()
        classes = None if objects.classes is None else objects.classes.detach().cpu().numpy()
        return boxes, scores, np.zeros(len(boxes), dtype=np.int64) if classes is None else classes
    table = np.asarray(objects, dtype=np.float64)
    if not table.size:
        table = np.zeros((0, 6))
    if table.ndim != 2 or not 4 <= table.shape[1] <= 6:
        raise ValueError(f"detections of shape {table.shape}: give Instances, or an array with the columns {_COLUMNS}")
    scores = table[:, 4] if table.shape[1] > 4 else np.ones(len(table))
    if table.shape[1] < 6:
        return table[:, :4], scores, np.zeros(len(table), dtype=np.int64)
    if not np.isfinite(table[:, 5]).all():
        raise ValueError(f"detection {_first(~np.isfinite(table[:, 5]))}: its class is not a number")
    return table[:, :4], scores, table[:, 5].astype(np.int64)


def _shapes_of(objects: Instances | np.ndarray, rows: np.ndarray) -> np.ndarray:
    if not isinstance(objects, Instances):
        if not len(rows):
            return shapes_of(Instances.empty((0, 0)))
        raise ValueError('an array of detections has no masks to compare: give Instances, or set overlap="box"')
    return shapes_of(objects[torch.from_numpy(rows).to(objects.boxes.device)])


def _check(boxes: np.ndarray, scores: np.ndarray) -> None:
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    if not finite.all():
        row = _first(~finite)
        raise ValueError(
            f"detection {row}: box {boxes[row].tolist()} with score {scores[row]} is not finite; leave it out, or "
            f"check what the detector does"
        )
    negative = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if negative.any():
        row = _first(negative)
        raise ValueError(
            f"detection {row}: box {boxes[row].tolist()} has a negative width or height; boxes are x1, y1, x2, y2, not "
            f"x, y, width, height"
        )
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        row = _first(outside)
        raise ValueError(f"detection {row}: score {scores[row]:g} is not between 0 and 1; rescale the scores")


def _checked_embeddings(embeddings: Tensor | np.ndarray | None, count: int) -> np.ndarray | None:
    if embeddings is None:
        return None
    given = embeddings.detach().cpu().double().numpy() if isinstance(embeddings, Tensor) else np.asarray(embeddings)
    vectors = np.asarray(given, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise ValueError(f"embeddings of shape {vectors.shape}: there are {count} detections, give a row for each")
    if not np.isfinite(vectors).all():
        raise ValueError(f"the embedding of detection {_first(~np.isfinite(vectors).all(axis=1))} is not finite")
    return normalised(vectors)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _first(mask: np.ndarray | np.bool_) -> int:
    return int(np.argmax(mask))
