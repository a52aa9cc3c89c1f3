"""A tracker and a stream of frames, some of which come with masks."""

from __future__ import annotations

import numpy as np

from pe_dense.modeling.tracking.frame_input import Frame, frame_size
from pe_dense.modeling.tracking.object_tracker import VideoObjectTracker


def follow(tracker: VideoObjectTracker, frame: Frame, masks: np.ndarray | None) -> np.ndarray:
    """Labels of the next frame. Of its masks, the objects that the tracker does not know yet are taken.

    Args:
        tracker: after ``reset()``, or in the middle of a video.
        frame: see :data:`Frame`.
        masks: H x W ids, 0 is background; None: there are none for this frame.
    """
    if masks is not None:
        masks = np.where(np.isin(masks, tracker.object_ids), 0, masks)
    new = masks if masks is not None and masks.any() else None
    if not tracker.object_ids:
        return np.zeros(frame_size(frame), np.uint8) if new is None else tracker.init(frame, new)
    labels = tracker.step(frame)
    return labels if new is None else tracker.add(new)
