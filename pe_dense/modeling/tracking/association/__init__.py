"""Tracking by detection: identities for the objects that a detector finds in each frame."""

from pe_dense.modeling.tracking.association.appearance import AppearanceDetector, with_appearance
from pe_dense.modeling.tracking.association.camera_motion import CameraMotion, MotionFile, SparseFlow
from pe_dense.modeling.tracking.association.settings import OCSORT, BoTSORT, ByteTrack, Settings
from pe_dense.modeling.tracking.association.tracker import TrackedBoxes, Tracker

__all__ = [
    "OCSORT",
    "AppearanceDetector",
    "BoTSORT",
    "ByteTrack",
    "CameraMotion",
    "MotionFile",
    "Settings",
    "SparseFlow",
    "TrackedBoxes",
    "Tracker",
    "with_appearance",
]
