"""Checks of COCO run-length encodings, many at a time."""

from __future__ import annotations

import numpy as np

_CHUNK = 1 << 22  # bytes of text looked at together: bounds the memory


def rle_areas(text: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How many pixels each compressed RLE describes (ones and zeros together), -1 where it is malformed.

    pycocotools decodes some malformed strings to random memory, so this is checked before it sees them.
    The format (``rleFrString`` of the COCO API): numbers in base 32, least significant digit first, one digit a
    character, bit 5 = "more digits follow", two's complement; from the fourth number on, the difference to the number
    two places before.

    Args:
        text: all encodings one after the other, uint8.
        offsets: R + 1 positions in ``text``.

    Returns:
        R int64.
    """
    areas = np.full(len(offsets) - 1, -1, dtype=np.int64)
    start = 0
    while start < len(areas):
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _CHUNK)) - 1)
        part = text[offsets[start] : offsets[stop]]
        areas[start:stop] = _chunk_areas(part, offsets[start : stop + 1] - offsets[start])
        start = stop
    return areas


def _chunk_areas(text: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    lengths = np.diff(offsets)
    areas = np.full(len(lengths), -1, dtype=np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    digits = text.astype(np.int64) - 48
    legal = lengths > 0
    legal[owner[(digits < 0) | (digits > 63)]] = False
    last = np.where(legal, offsets[1:] - 1, 0)
    legal &= (digits[last] & 0x20) == 0 if len(digits) else False
    chosen = legal[owner]
    digits, owner = digits[chosen], owner[chosen]
    if not len(digits):
        return areas
    ends = np.flatnonzero((digits & 0x20) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    legal[owner[place > 11]] = False  # more than 60 bits: no image is that large
    shift = 5 * np.minimum(place, 11)
    numbers = np.add.reduceat((digits & 0x1F) << shift, starts)
    numbers -= ((digits[ends] & 0x10) != 0).astype(np.int64) << (shift[ends] + 5)
    runs = _undo_differences(numbers, owner[ends])
    legal[owner[ends][runs < 0]] = False
    sums = np.bincount(owner[ends], weights=runs, minlength=len(areas)).astype(np.int64)
    return np.where(legal, sums, -1)


def _undo_differences(numbers: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Run lengths from the stored numbers: odd places, and even places from 2 on, are running sums."""
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    place = np.arange(len(owner)) - np.repeat(first, np.diff(np.append(first, len(owner))))
    chain = owner * 3 + np.where(place == 0, 0, 2 - place % 2)
    order = np.argsort(chain, kind="stable")
    totals = np.cumsum(numbers[order])
    begins = np.flatnonzero(np.diff(chain[order], prepend=-1))
    before = np.where(begins > 0, totals[begins - 1], 0)
    totals -= np.repeat(before, np.diff(np.append(begins, len(totals))))
    runs = np.empty_like(numbers)
    runs[order] = totals
    return runs
