"""Identity over time: objects that are detected in each frame, and masks that are passed on from frame to frame."""

from pe_dense.modeling.tracking.color_features import ColorFeatures
from pe_dense.modeling.tracking.follow import follow
from pe_dense.modeling.tracking.frame_input import Frame, Masks
from pe_dense.modeling.tracking.label_propagation import LabelPropagation, normalized_tokens, propagate
from pe_dense.modeling.tracking.learned_tracker import LearnedTracker
from pe_dense.modeling.tracking.object_tracker import VideoObjectTracker
from pe_dense.modeling.tracking.projection import ProjectedFeatures, TokenProjection
from pe_dense.modeling.tracking.propagation_loss import PropagationLoss
from pe_dense.modeling.tracking.tracker_probe import TrackerProbe

__all__ = [
    "ColorFeatures",
    "Frame",
    "LabelPropagation",
    "LearnedTracker",
    "Masks",
    "ProjectedFeatures",
    "PropagationLoss",
    "TokenProjection",
    "TrackerProbe",
    "VideoObjectTracker",
    "follow",
    "normalized_tokens",
    "propagate",
]
