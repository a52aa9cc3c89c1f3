"""Identity over time: objects that are detected in each frame, and masks that are passed on from frame to frame."""

from pe_dense.modeling.tracking.frame_input import Frame, Masks
from pe_dense.modeling.tracking.label_propagation import LabelPropagation, normalized_tokens, propagate
from pe_dense.modeling.tracking.object_tracker import VideoObjectTracker
from pe_dense.modeling.tracking.tracker_probe import TrackerProbe

__all__ = [
    "Frame",
    "LabelPropagation",
    "Masks",
    "TrackerProbe",
    "VideoObjectTracker",
    "normalized_tokens",
    "propagate",
]
