"""MOTS text with run-length encodings."""

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pe_dense.data import DataError
from pe_dense.data.mot import disjoint_masks, read_mots, write_mots
from pe_dense.structures import Tracks, encode_rle


def square(x: int, y: int, side: int = 4) -> dict[str, object]:
    mask = np.zeros((12, 16), dtype=np.uint8)
    mask[y : y + side, x : x + side] = 1
    return encode_rle(mask)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    masks = [square(0, 0), square(6, 2), square(10, 7)]
    tracks = Tracks.create(
        [0, 0, 1], np.zeros((3, 4)), ids=[2001, -1, 2001], classes=[2, 10, 2], ignored=[0, 1, 0], masks=masks
    )
    for first in (0, 1):
        write_mots(tmp_path / "gt.txt", tracks, first)
        assert (tmp_path / "gt.txt").read_text().split()[0] == str(first)
        again = read_mots(tmp_path / "gt.txt", first_frame=first)
        assert sorted(again.ids.tolist()) == [-1, 2001, 2001]
        assert again.ignored.sum() == 1
        assert again.boxes[again.frames == 1].tolist() == [[10, 7, 14, 11]]
        assert again.masks is not None
        assert {m["counts"].decode() for m in again.masks} == {m["counts"] for m in masks}
    with pytest.raises(ValueError, match="only boxes"):
        write_mots(tmp_path / "x.txt", Tracks.create([0], [[0, 0, 1, 1]], ids=[1]))


def line(mask: dict[str, object], track: int = 1, frame: int = 1) -> str:
    return f"{frame} {track} 2 12 16 {mask['counts']}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(square(0, 0)) + line(square(2, 2), track=2), "masks of frame 1 overlap"),
        (line(square(0, 0)) + line(square(6, 2)), "lines 1 and 2: id 1 occurs twice in frame 1"),
        (line(square(0, 0)).replace(" 12 16", " 12 17"), "line 1: the mask describes 192 pixels"),
        ("1 1 2 12 16 ~~~\n", "line 1: the mask's run-length encoding is damaged"),
        ("1,1,0,0,5,5,1\n", "line 1: has 1 columns, not the 6 of MOTS"),
        (line(square(0, 0), frame=0), "line 1: frame 0 is below 1"),
        ("x 1 2 12 16 0\n", "could not convert"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.txt").write_text(text)
    with pytest.raises(DataError, match=f"r.txt.*{message}"):
        read_mots(tmp_path / "r.txt", "results")


def test_an_empty_file_has_no_mask(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("")
    tracks = read_mots(tmp_path / "r.txt")
    assert len(tracks) == 0
    assert tracks.masks is not None


def test_overlaps_go_to_the_highest_score() -> None:
    masks = [square(0, 0), square(2, 2), square(2, 2), square(10, 7)]
    found = disjoint_masks(masks, np.array([0.9, 0.5, 0.5, 0.1]))
    assert coco_mask.area(found).tolist() == [16, 12, 0, 16]  # of equal scores the first
    assert coco_mask.area(coco_mask.merge(found)) == 44
    assert disjoint_masks(masks[2:], np.array([0.9, 0.5])) == masks[2:]
    assert disjoint_masks([], np.zeros(0)) == []
