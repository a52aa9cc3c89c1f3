import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pe_dense.evaluation.mot import MOT15, score_sequence
from pe_dense.modeling.tracking.association import OCSORT, BoTSORT, ByteTrack, Settings, TrackedBoxes, Tracker
from pe_dense.modeling.tracking.association.settings import changed
from pe_dense.structures import Instances, RoiMasks, Tracks

PRESETS: list[Settings] = [ByteTrack(), BoTSORT(), OCSORT(), OCSORT(byte=True)]
BOX = [100.0, 100, 140, 190]


def walk(frame: int, start: float = 100.0, speed: float = 4.0, score: float = 0.9) -> list[float]:
    x = start + speed * frame
    return [x, 100, x + 40, 190, score]


def run_scene(scene: Any, settings: Settings, looks: bool = False) -> list[TrackedBoxes]:
    tracker, shown = Tracker(settings), []
    for frame in range(50):
        rows = scene["dets"][:, 0] == frame
        given = scene["embeddings"][rows] if looks else None
        shown.append(tracker.update(scene["dets"][rows, 1:], embeddings=given))
    return shown


@pytest.mark.parametrize(
    ("name", "settings", "looks"),
    [
        ("bytetrack_default", ByteTrack(), False),
        ("ocsort_default", OCSORT(), False),
        ("botsort_noreid", BoTSORT(), False),
        ("botsort_reid", BoTSORT(), True),
    ],
)
def test_published_trackers(fixtures: Path, name: str, settings: Settings, looks: bool) -> None:
    scene = np.load(fixtures / "mot_trackers" / "scene1.npz")
    shown = run_scene(scene, settings, looks)
    frames = np.repeat([s.frame for s in shown], [len(s) for s in shown]) - 1
    results = Tracks.create(frames, np.concatenate([s.boxes for s in shown]), np.concatenate([s.ids for s in shown]))
    # the very boxes of the published code, whatever it calls the tracks (OC-SORT's come from area and ratio)
    official = scene[name]
    assert len(official) == len(results) == 100
    mine, theirs = (
        np.array(sorted(table.tolist()))
        for table in (np.column_stack([frames, results.boxes]), np.delete(official, 1, axis=1)[:, :5])
    )
    np.testing.assert_allclose(mine, theirs, atol=1e-6)
    truth = Tracks.create(scene["gt"][:, 0], scene["gt"][:, 2:], scene["gt"][:, 1])
    scores = score_sequence(truth, results, 50, MOT15)["pedestrian"].metrics()
    expected = json.loads((fixtures / "mot_trackers" / "trackeval_scores.json").read_text())["scene1"][name]
    for key in ("HOTA", "IDF1", "MOTA", "IDSW"):
        assert scores[key] == pytest.approx(expected[key], abs=1e-6), key
    assert scores["IDSW"] == (0 if looks else 2)


@pytest.mark.parametrize("settings", PRESETS)
def test_an_occluded_walker_keeps_its_id(settings: Settings) -> None:
    tracker, seen = Tracker(settings), set()
    for frame in range(60):
        hidden = 20 <= frame < 30
        shown = tracker.update(np.array([] if hidden else [walk(frame)]))
        assert len(shown) <= (0 if hidden else 1)
        seen.update(shown.ids.tolist())
    assert seen == {1}
    assert abs(shown.boxes[0] - walk(59)[:4]).max() < 2


@pytest.mark.parametrize("settings", PRESETS)
def test_nothing_for_200_frames(settings: Settings) -> None:
    tracker = Tracker(settings)
    for frame in range(10):
        shown = tracker.update(np.array([walk(frame)]))
    assert shown.ids.tolist() == [1]
    for _ in range(200):
        assert len(tracker.update(np.zeros((0, 5)))) == 0
    assert tracker.num_kept == 0
    for frame in range(10):
        shown = tracker.update(np.array([walk(frame)]))
    assert shown.ids.tolist() == [2]


@pytest.mark.parametrize("settings", PRESETS)
def test_classes_are_not_mixed(settings: Settings) -> None:
    ids = {}
    for aware in (True, False):
        tracker = Tracker(settings, class_aware=aware)
        for frame in range(12):
            shown = tracker.update(np.array([[*walk(frame), float(frame >= 6)]]))
        ids[aware] = shown.ids.tolist()
        assert shown.classes.tolist() == [1]
    assert ids == {True: [2], False: [1]}


@pytest.mark.parametrize("settings", PRESETS)
def test_two_classes_in_one_place(settings: Settings) -> None:
    tracker = Tracker(settings)
    for frame in range(12):
        shown = tracker.update(np.array([[*walk(frame), 0], [*walk(frame), 1]]))
    assert sorted(zip(shown.ids.tolist(), shown.classes.tolist())) == [(1, 0), (2, 1)]


def test_low_scores_continue_but_do_not_begin() -> None:
    tracker = Tracker(ByteTrack())
    for frame in range(5):
        assert len(tracker.update(np.array([walk(frame, score=0.3)]))) == 0
    for frame in range(5, 20):
        shown = tracker.update(np.array([walk(frame, score=0.9 if frame < 8 else 0.3)]))
    assert shown.ids.tolist() == [1]
    assert shown.scores.tolist() == [0.3]


def test_a_single_detection_is_not_reported() -> None:
    video = [[walk(0)], [walk(1), [400, 300, 450, 350, 0.9]], [walk(2)]]
    shown = {
        show: [Tracker.update(t, np.array(f)).ids.tolist() for f in video]
        for show in (True, False)
        for t in [Tracker(ByteTrack(show_unconfirmed=show))]
    }
    assert shown == {True: [[1], [1, 2], [1]], False: [[1], [1], [1]]}


def test_instances_keep_all_they_carry() -> None:
    tracker = Tracker(ByteTrack())
    boxes = torch.tensor([[300.0, 100, 340, 190], BOX, [5, 5, 5, 9]])
    probs = torch.arange(3.0)[:, None, None].expand(3, 7, 7)
    found = Instances(
        (480, 640), boxes, torch.tensor([2, 4, 4]), torch.tensor([0.8, 0.9, 0.95]), RoiMasks(probs, boxes, (480, 640))
    )
    shown = tracker.update(found)
    assert isinstance(shown, Instances)
    assert shown.track_ids is not None
    assert shown.track_ids.tolist() == [1, 2]  # the one without area is left out
    assert shown.classes is not None
    assert shown.classes.tolist() == [2, 4]
    assert isinstance(shown.masks, RoiMasks)
    assert shown.masks.probs[:, 0, 0].tolist() == [0, 1]
    assert shown.boxes.dtype == torch.float32
    np.testing.assert_allclose(shown.boxes, boxes[:2], atol=1e-4)
    nothing = tracker.update(Instances.empty((480, 640)))
    assert len(nothing) == 0
    assert nothing.track_ids is not None


@pytest.mark.parametrize("settings", PRESETS)
def test_camera_motion(settings: Settings) -> None:
    """A camera that jumps further than the boxes are wide."""
    jump = np.array([[1.0, 0, 150], [0, 1, -80]])
    shift = np.array([150, -80, 150, -80])
    ids = {}
    for told in (True, False):
        tracker, offset = Tracker(settings), np.zeros(4)
        for frame in range(20):
            if frame == 10:
                offset = offset + shift
            box = np.array(walk(frame))
            box[:4] += offset
            shown = tracker.update(box[None], warp=jump if told and frame == 10 else None)
        ids[told] = shown.ids.tolist()
    assert ids == {True: [1], False: [2]}


@pytest.mark.parametrize("settings", PRESETS)
def test_frame_numbers_with_gaps(settings: Settings) -> None:
    """Every third frame of a fast walker: one who knows the numbers predicts far enough."""
    tracker = Tracker(settings)
    for frame in [*range(10), *range(12, 60, 3)]:
        shown = tracker.update(np.array([walk(frame, speed=8)]), frame=frame)
        assert shown.frame == frame
    assert shown.ids.tolist() == [1]
    tracker.update(np.zeros((0, 5)), frame=10**12)  # at once, and with nothing left
    assert tracker.num_kept == 0


def test_repeated_and_earlier_frames() -> None:
    tracker = Tracker()
    tracker.update(np.array([walk(0)]), frame=5)
    with pytest.raises(ValueError, match="frame 5 was given already"):
        tracker.update(np.array([walk(0)]), frame=5)
    with pytest.raises(ValueError, match=r"frame 3 comes after frame 5.*reset"):
        tracker.update(np.array([walk(0)]), frame=3)
    assert tracker.update(np.array([walk(1)])).frame == 6
    tracker.reset()
    assert tracker.update(np.array([walk(0)]), frame=3).ids.tolist() == [1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([walk(0), [np.nan, 0, 5, 5, 0.9]], "detection 1: .* is not finite"),
        ([[0, 0, np.inf, 5, 0.9]], "detection 0: .* is not finite"),
        ([[0, 0, 5, 5, np.nan]], "is not finite"),
        ([[50, 0, 5, 5, 0.9]], "negative width or height; boxes are x1, y1, x2, y2"),
        ([[0, 0, 5, 5, 90.0]], "score 90 is not between 0 and 1"),
        ([[0, 0, 5, 5, 0.9, np.nan]], "class is not a number"),
        ([[0, 0, 5]], "shape .* give Instances, or an array with the columns"),
    ],
)
@pytest.mark.parametrize("settings", PRESETS)
def test_bad_detections_change_nothing(settings: Settings, rows: list[list[float]], message: str) -> None:
    tracker = Tracker(settings)
    for frame in range(10):
        tracker.update(np.array([walk(frame)]))
    with pytest.raises(ValueError, match=message):
        tracker.update(np.array(rows))
    shown = tracker.update(np.array([walk(10)]))
    assert (shown.ids.tolist(), shown.frame) == ([1], 11)


def test_bad_warps_and_embeddings() -> None:
    tracker = Tracker(BoTSORT())
    row, look = np.array([walk(0)]), np.ones((1, 4))
    tracker.update(row, embeddings=look)
    for warp in (np.eye(3), np.zeros((2, 3)), np.full((2, 3), np.nan)):
        with pytest.raises(ValueError, match="invertible 2 x 3 matrix"):
            tracker.update(row, warp=warp)
    with pytest.raises(ValueError, match="there are 1 detections, give a row for each"):
        tracker.update(row, embeddings=np.ones((2, 4)))
    with pytest.raises(ValueError, match="embedding of detection 0 is not finite"):
        tracker.update(row, embeddings=look * np.nan)
    with pytest.raises(ValueError, match="have 3 numbers, those of earlier frames had 4"):
        tracker.update(row, embeddings=np.ones((1, 3)))
    with pytest.raises(ValueError, match="ByteTrack does not look at appearance: use BoTSORT"):
        Tracker().update(row, embeddings=look)
    assert tracker.update(row).frame == 2


def test_reidentification() -> None:
    """Someone leaves and comes back elsewhere; only the look tells who it is."""
    looks = np.eye(2)
    ids = {}
    for limit in (0.0, 0.2):
        tracker = Tracker(BoTSORT(reidentify=limit))
        for frame in range(30):
            x = 100 if frame < 10 else 900
            here = [[x, 100, x + 40, 190, 0.9]] if not 10 <= frame < 15 else []
            shown = tracker.update(np.array([*here, [400, 300, 440, 390, 0.9]]), embeddings=looks[-1 - len(here) :])
        ids[limit] = shown.ids.tolist()
    assert ids == {0.0: [2, 3], 0.2: [1, 2]}


def test_lost_tracks_are_kept_as_long_as_the_frame_rate_says() -> None:
    def kept(fps: float) -> int:
        tracker = Tracker(ByteTrack(buffer=30), frame_rate=fps)
        tracker.update(np.array([walk(0)]))
        for count in range(1, 200):
            tracker.update(np.zeros((0, 5)))
            if not tracker.num_kept:
                return count
        return 0

    assert (kept(30), kept(10)) == (31, 11)


def test_settings_are_checked() -> None:
    assert changed(BoTSORT(), ["high=0.5", "buffer=60", "fuse_score=false"]) == BoTSORT(
        high=0.5, buffer=60, fuse_score=False
    )
    for change, message in (
        ("hihg=1", "BoTSORT has the settings high.*; did you mean high\\?"),
        ("buffer=x", "not of type int"),
        ("fuse_score=2", "not of type bool"),
        ("high=2", "BoTSORT.high must lie between 0 and 1"),
        ("kalman=abc", "kalman is 'abc': choose xyah"),
        ("high=0.8", "must be ascending"),
    ):
        with pytest.raises(ValueError, match=message):
            changed(BoTSORT(), [change])
    with pytest.raises(ValueError, match=r"OCSORT\.delta_t must be at least 1"):
        OCSORT(delta_t=0)
    with pytest.raises(ValueError, match="frame_rate must be positive"):
        Tracker(frame_rate=0)


def test_a_new_video_may_have_another_frame_rate() -> None:
    tracker = Tracker(ByteTrack(buffer=30), frame_rate=30)
    for rate, kept in ((None, 1), (5.0, 0), (None, 0), (30.0, 1)):  # 10 frames without it: 1/3 s, or 2 s
        tracker.reset(rate)
        for frame in range(3):
            tracker.update(np.array([walk(frame)]), frame)
        for frame in range(3, 13):
            tracker.update(np.zeros((0, 5)), frame)
        assert tracker.num_kept == kept
    with pytest.raises(ValueError, match="frame_rate must be positive, it is 0"):
        tracker.reset(0.0)
