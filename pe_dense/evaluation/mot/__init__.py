"""Metrics of multi-object tracking: HOTA, CLEAR MOT and identity, with each benchmark's pre-processing."""

from pe_dense.evaluation.mot.protocols import (
    KITTI,
    KITTI_MOTS,
    MOT15,
    MOT17,
    MOT20,
    MOTS,
    KittiProtocol,
    MotProtocol,
    MotsProtocol,
    TrackingProtocol,
)
from pe_dense.evaluation.mot.report import as_json, format_tracking, write_scores
from pe_dense.evaluation.mot.scores import (
    COMBINED,
    ScoreTable,
    TrackingCase,
    TrackingScores,
    evaluate_tracking,
    score_sequence,
)

__all__ = [
    "COMBINED",
    "KITTI",
    "KITTI_MOTS",
    "MOT15",
    "MOT17",
    "MOT20",
    "MOTS",
    "KittiProtocol",
    "MotProtocol",
    "MotsProtocol",
    "ScoreTable",
    "TrackingCase",
    "TrackingProtocol",
    "TrackingScores",
    "as_json",
    "evaluate_tracking",
    "format_tracking",
    "score_sequence",
    "write_scores",
]
