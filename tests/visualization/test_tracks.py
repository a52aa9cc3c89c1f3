import numpy as np
import pytest
import torch

from pe_dense.structures import Instances
from pe_dense.visualization import TrackPainter, palette_color

SIZE = (480, 640)
GREY = np.full((*SIZE, 3), 90, dtype=np.uint8)


def objects(x: float, track: int = 3) -> Instances:
    boxes = torch.tensor([[x, 200.0, x + 40, 300.0]])
    return Instances(SIZE, boxes, torch.tensor([0]), torch.tensor([0.9]), track_ids=torch.tensor([track]))


def colored(picture: np.ndarray, track: int, x: slice) -> int:
    """Pixels near the colour of a track in the row of the boxes' centres."""
    away = np.abs(picture[248:253, x].astype(int) - palette_color(track)).sum(axis=2)
    return int((away < 120).any(axis=0).sum())


def test_trails_follow_and_fade_out() -> None:
    painter = TrackPainter(["person"], trail=10)
    for frame in range(30):
        picture = painter.draw(frame, GREY, objects(10.0 * frame))
    assert picture.shape == GREY.shape
    assert colored(picture, 3, slice(220, 285)) >= 60  # centres of 11 frames: 210 to 310; the box begins at 290
    assert colored(picture, 3, slice(0, 205)) == 0
    bare = TrackPainter(trail=0)
    for frame in range(30):
        picture = bare.draw(frame, GREY, objects(10.0 * frame))
    assert colored(picture, 3, slice(0, 285)) == 0


def test_trails_have_gaps_where_nothing_was_seen() -> None:
    painter = TrackPainter(trail=30)
    for frame in range(20):
        if not 8 <= frame < 12:
            picture = painter.draw(frame, GREY, objects(10.0 * frame))
    assert colored(picture, 3, slice(95, 135)) == 0
    assert colored(picture, 3, slice(30, 85)) > 45
    assert colored(picture, 3, slice(145, 185)) > 35


def test_memory_is_bounded() -> None:
    painter = TrackPainter(trail=5)
    for frame in range(50):
        painter.draw(frame, GREY, objects(10, track=frame + 1))
    assert len(painter._trails) == 6


def test_small_frames_are_enlarged() -> None:
    small = Instances((48, 64), torch.tensor([[3.0, 4, 20, 30]]), track_ids=torch.tensor([1]))
    assert TrackPainter().draw(0, GREY[:48, :64], small).shape == (480, 640, 3)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no track ids; draw_instances draws detections"):
        TrackPainter().draw(0, GREY, Instances(SIZE, torch.zeros(0, 4)))
    with pytest.raises(ValueError, match="trail must not be negative"):
        TrackPainter(trail=-1)
