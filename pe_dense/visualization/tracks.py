"""Tracked objects of a video: ids, masks, and where they came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from pe_dense.structures import Instances
from pe_dense.visualization.canvas import line_width
from pe_dense.visualization.colors import Color, palette_color
from pe_dense.visualization.instances import draw_instances

_TRAIL_OPACITY = 0.8


class TrackPainter:
    """Draws the frames of a video one after the other, each identity in a colour of its own.

    Args:
        names: class names by contiguous index; None: labels are ids alone.
        trail: frames whose box centres make the trail of an object; 0 draws none.
        step: how far apart the numbers of successive frames are.
    """

    def __init__(self, names: Sequence[str] | None = None, trail: int = 30, step: int = 1) -> None:
        if trail < 0:
            raise ValueError(f"trail must not be negative, it is {trail}")
        self._names, self._length, self._step = names, trail, step
        self._trails: dict[int, deque[tuple[int, float, float]]] = {}

    def draw(self, frame: int, image: np.ndarray, instances: Instances) -> np.ndarray:
        """One frame.

        Args:
            frame: its number, later than that of the last call.
            image: H x W x 3 uint8 RGB.
            instances: with track ids; masks are drawn if there are any.

        Returns:
            H' x W' x 3 uint8 RGB; small frames are enlarged.

        Raises:
            ValueError: without track ids.
        """
        if instances.track_ids is None:
            raise ValueError("the objects have no track ids; draw_instances draws detections")
        ids = [int(i) for i in instances.track_ids]
        self._remember(frame, ids, instances)
        labels = [self._label(instances, i) for i in range(len(ids))]
        canvas = draw_instances(image, instances, colors=[palette_color(t) for t in ids], labels=labels)
        lines = canvas.copy()
        for track in ids:
            self._draw_trail(lines, self._trails[track], canvas.shape[1] / image.shape[1], palette_color(track), frame)
        return cv2.addWeighted(lines, _TRAIL_OPACITY, canvas, 1 - _TRAIL_OPACITY, 0)

    def _label(self, instances: Instances, index: int) -> str:
        assert instances.track_ids is not None
        label = f"#{int(instances.track_ids[index])}"
        if self._names is None or instances.classes is None:
            return label
        number = int(instances.classes[index])
        return f"{label} {self._names[number] if 0 <= number < len(self._names) else number}"

    def _remember(self, frame: int, ids: Sequence[int], instances: Instances) -> None:
        centres = (instances.boxes[:, :2] + instances.boxes[:, 2:]) / 2
        for track, (x, y) in zip(ids, centres.tolist()):
            self._trails.setdefault(track, deque()).append((frame, x, y))
        for track, places in list(self._trails.items()):
            while places and places[0][0] < frame - self._length:
                places.popleft()
            if not places:
                del self._trails[track]

    def _draw_trail(
        self, canvas: np.ndarray, places: Iterable[tuple[int, float, float]], factor: float, color: Color, frame: int
    ) -> None:
        """Lines through earlier centres, in place, thicker towards ``frame``; a gap where the object was not seen."""
        width = line_width(*canvas.shape[:2])
        for (earlier, *start), (later, *stop) in pairwise(places):
            if later - earlier <= self._step:
                ends = [np.round((np.array(p) * factor - 0.5) * 16).astype(int).tolist() for p in (start, stop)]
                thickness = round(width * (1.5 - (frame - later) / self._length))
                cv2.line(canvas, ends[0], ends[1], color, max(1, thickness), cv2.LINE_AA, shift=4)
