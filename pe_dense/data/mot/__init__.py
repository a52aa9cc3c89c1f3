"""Files of multi-object tracking benchmarks: MOTChallenge, DanceTrack, KITTI, MOTS."""

from pe_dense.data.mot.coco_video import CocoVideoFrames
from pe_dense.data.mot.frames import Clip, MotFrames, TrackedFrames
from pe_dense.data.mot.kitti import KITTI_CLASSES, read_kitti_tracks, write_kitti_results
from pe_dense.data.mot.layouts import find_kitti_sequences, find_mot_sequences, match_results, read_seqmap
from pe_dense.data.mot.mots import MOTS_CAR, MOTS_IGNORE, MOTS_PEDESTRIAN, disjoint_masks, read_mots, write_mots
from pe_dense.data.mot.seqinfo import SequenceInfo, read_seqinfo, write_seqinfo
from pe_dense.data.mot.sequences import (
    KITTI_FORMAT,
    KITTI_MOTS_FORMAT,
    MOT_FORMAT,
    MOTS_FORMAT,
    SequenceResults,
    TrackFormat,
    TrackingSequence,
)
from pe_dense.data.mot.text import (
    MOT_CLASSES,
    read_mot_detections,
    read_mot_ground_truth,
    read_mot_results,
    write_mot_detections,
    write_mot_ground_truth,
    write_mot_results,
)

__all__ = [
    "KITTI_CLASSES",
    "KITTI_FORMAT",
    "KITTI_MOTS_FORMAT",
    "MOTS_CAR",
    "MOTS_FORMAT",
    "MOTS_IGNORE",
    "MOTS_PEDESTRIAN",
    "MOT_CLASSES",
    "MOT_FORMAT",
    "Clip",
    "CocoVideoFrames",
    "MotFrames",
    "SequenceInfo",
    "SequenceResults",
    "TrackFormat",
    "TrackedFrames",
    "TrackingSequence",
    "disjoint_masks",
    "find_kitti_sequences",
    "find_mot_sequences",
    "match_results",
    "read_kitti_tracks",
    "read_mot_detections",
    "read_mot_ground_truth",
    "read_mot_results",
    "read_mots",
    "read_seqinfo",
    "read_seqmap",
    "write_kitti_results",
    "write_mot_detections",
    "write_mot_ground_truth",
    "write_mot_results",
    "write_mots",
    "write_seqinfo",
]
