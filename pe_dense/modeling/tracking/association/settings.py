"""The three presets: what published trackers associate by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

FilterName = Literal["xyah", "xywh", "xysr"]
Overlap = Literal["box", "mask"]


@dataclass(frozen=True, kw_only=True)
class ByteTrack:
    """ByteTrack (arXiv 2110.06864): confident detections first, the others only for tracks that were seen just before.

    Costs are 1 - IoU, those of the first match and of unconfirmed tracks 1 - IoU * score with ``fuse_score``.

    Attributes:
        high: detections above it are confident.
        low: those above it, up to ``high``, can continue a track; those below are not used.
        new: confident detections at or above it start a track.
        match: cost limit of the first match, confirmed tracks with confident detections.
        match_low: cost limit of the second, tracks seen in the last frame with the other detections.
        match_unconfirmed: cost limit of tracks with a single detection so far.
        buffer: how long a lost track is kept, in frames of a video with 30 frames per second.
        fuse_score: costs are 1 - IoU x score in the first match and for unconfirmed tracks, not 1 - IoU.
        duplicate_iou: of a tracked and a lost track that overlap more, the younger is dropped.
        kalman: numbers that the Kalman filter follows: "xyah" (centre, aspect, height), "xywh" or "xysr" (area, ratio).
        show_unconfirmed: report a track from its first detection on, not from its second.
        overlap: what IoU is taken of: "box", or "mask": the track's last mask, moved along with its predicted box, and
            the detection's (not in the paper); the detections must then be instances with masks.
    """

    high: float = 0.6
    low: float = 0.1
    new: float = 0.7
    match: float = 0.9
    match_low: float = 0.5
    match_unconfirmed: float = 0.7
    buffer: int = 30
    fuse_score: bool = True
    duplicate_iou: float = 0.85
    kalman: FilterName = "xyah"
    show_unconfirmed: bool = False
    overlap: Overlap = "box"

    def __post_init__(self) -> None:
        _check_shares(self, "high", "low", "new", "duplicate_iou")
        if not self.low <= self.high <= self.new:
            raise ValueError(
                f"{type(self).__name__}: low {self.low:g}, high {self.high:g} and new {self.new:g} must be ascending"
            )
        _check_choice(self, "kalman", FilterName)
        _check_choice(self, "overlap", Overlap)
        if self.buffer < 0:
            raise ValueError(f"{type(self).__name__}.buffer must not be negative, it is {self.buffer}")


@dataclass(frozen=True, kw_only=True)
class BoTSORT(ByteTrack):
    """BoT-SORT (arXiv 2206.14651): ByteTrack with width and height in the filter, and appearance where it is given.

    The cost of appearance is half the cosine distance between a detection's embedding and the track's mean one; the
    smaller one of this and the cost of overlap counts. Like the published code it reports tracks from their first
    detection on.

    Attributes:
        proximity: appearance does not count where 1 - IoU is larger; 1 looks everywhere.
        appearance: it does not count either where its own cost is larger.
        ema: share of the earlier mean embedding that is kept at each detection.
        reidentify: what no overlap explains continues a lost track anywhere in the image if its cost of appearance is
            below this; 0 (as published): it starts a new track.
    """

    match: float = 0.8
    kalman: FilterName = "xywh"
    show_unconfirmed: bool = True
    proximity: float = 0.5
    appearance: float = 0.25
    ema: float = 0.9
    reidentify: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(self, "proximity", "appearance", "ema", "reidentify")


@dataclass(frozen=True, kw_only=True)
class OCSORT:
    """OC-SORT (arXiv 2203.14360): trusts observations more than the filter's prediction.

    It adds to the overlap how well the direction to a detection agrees with the track's (OCM), then compares what is
    left with the place where a track was last seen (OCR), and after a gap replays the filter along the straight line
    between the observations (ORU). Reported boxes are the detections.

    Attributes:
        high: detections above it are used.
        low: with ``byte``, those above it, up to ``high``, can continue a track.
        iou: least overlap of a match.
        min_hits: matches in a row, after the first detection, from which on a track is reported; in the first
            ``min_hits`` frames all are.
        max_age: frames that a track is kept without a match.
        delta_t: frames over which the direction is measured.
        inertia: weight of the direction.
        byte: a second match, as in ByteTrack.
        overlap: see :class:`ByteTrack`.
    """

    high: float = 0.6
    low: float = 0.1
    iou: float = 0.3
    min_hits: int = 3
    max_age: int = 30
    delta_t: int = 3
    inertia: float = 0.2
    byte: bool = False
    overlap: Overlap = "box"

    def __post_init__(self) -> None:
        _check_choice(self, "overlap", Overlap)
        _check_shares(self, "high", "low", "iou")
        if self.low > self.high:
            raise ValueError(f"OCSORT: low {self.low:g} must not be above high {self.high:g}")
        for name, least in (("min_hits", 0), ("max_age", 0), ("delta_t", 1), ("inertia", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"OCSORT.{name} must be at least {least}, it is {getattr(self, name)}")


Settings = ByteTrack | OCSORT


def changed(settings: Settings, changes: Sequence[str]) -> Settings:
    """Settings with changes in words, such as ``["high=0.5", "byte=true"]``.

    Raises:
        ValueError: naming the change that names no setting or has no value for it.
    """
    preset = type(settings).__name__
    kinds: dict[str, Any] = {field.name: type(getattr(settings, field.name)) for field in fields(settings)}
    values: dict[str, Any] = {}
    for change in changes:
        key, _, text = change.partition("=")
        if key not in kinds:
            near = "".join(f"; did you mean {name}?" for name in get_close_matches(key, kinds, n=1))
            raise ValueError(
                f"{change!r}: {preset} has the settings {', '.join(kinds)}, each is set as key=value{near}"
            )
        try:
            values[key] = {"true": True, "false": False}[text.lower()] if kinds[key] is bool else kinds[key](text)
        except (ValueError, KeyError):
            raise ValueError(f"{change!r}: {text!r} is not of type {kinds[key].__name__}") from None
    return replace(settings, **values)


def _check_choice(settings: ByteTrack | OCSORT, name: str, choices: Any) -> None:
    value = getattr(settings, name)
    if value not in get_args(choices):
        raise ValueError(f"{type(settings).__name__}.{name} is {value!r}: choose {', '.join(get_args(choices))}")


def _check_shares(settings: ByteTrack | OCSORT, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{type(settings).__name__}.{name} must lie between 0 and 1, it is {value:g}")
