"""The columns of tracked objects."""

import numpy as np
import pytest

from pe_dense.structures import NO_ID, Tracks


def test_columns_that_are_not_given_get_their_defaults() -> None:
    tracks = Tracks.create([3, 0], [[0, 0, 1, 2], [4, 4, 6, 6]])
    assert tracks.ids.tolist() == [NO_ID, NO_ID]
    assert tracks.scores.tolist() == tracks.visibility.tolist() == [1.0, 1.0]
    assert tracks.classes.tolist() == [1, 1]
    assert not tracks.ignored.any()
    assert tracks.masks is None
    assert tracks.boxes.dtype == np.float64
    assert tracks.num_frames == 4
    assert repr(tracks) == "Tracks(2 boxes of 0 tracks in 2 frames)"


def test_rows_are_sorted_by_frame_and_found() -> None:
    tracks = Tracks.create([2, 0, 2], np.arange(12).reshape(3, 4), ids=[7, 8, 5]).sorted()
    assert tracks.ids.tolist() == [8, 7, 5]
    assert tracks.offsets(4).tolist() == [0, 1, 1, 3, 3]
    assert tracks[tracks.frames == 2].ids.tolist() == [7, 5]


def test_joining_keeps_masks_only_if_all_have_them() -> None:
    boxes = Tracks.create([0], [[0, 0, 1, 1]], ids=[1])
    masks = Tracks.create([1], [[0, 0, 1, 1]], ids=[2], masks=[{"size": [1, 1], "counts": b"01"}])
    assert Tracks.cat([boxes, masks]).masks is None
    joined = Tracks.cat([masks, masks])
    assert joined.masks is not None
    assert len(joined.masks) == 2
    assert Tracks.cat([boxes, masks]).ids.tolist() == [1, 2]
    assert len(Tracks.empty()) == Tracks.empty().num_frames == 0


@pytest.mark.parametrize("wrong", [{"boxes": [[0, 0, 1, 1]]}, {"ids": [1]}, {"masks": []}, {"scores": [[1], [2]]}])
def test_columns_of_another_length_are_refused(wrong: dict[str, list[object]]) -> None:
    with pytest.raises(ValueError, match="2 rows"):
        Tracks.create(**{"frames": [0, 1], "boxes": np.zeros((2, 4)), **wrong})
