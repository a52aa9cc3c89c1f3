"""Checks and measures of many COCO run-length encodings at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hotcoco.mask
import numpy as np

_BATCH = 1024  # strings decoded at a time: keeps the temporary arrays in the cache
_MOST_DIGITS = 12  # more would not fit into 64 bits, and no image has that many pixels


def rle_pixels(counts: Sequence[bytes]) -> np.ndarray:
    """Number of pixels that compressed COCO run-length strings describe: N int64, -1 for a string cut inside a number.

    A number is written as characters of five bits each (48 + bits, bit 5 = more follow, bit 4 of the last = negative)
    and from the fourth number on it is the difference from the number two places before (``rleToString`` of COCO's
    ``maskApi.c``), so a number is contained in the sum once for itself and once for every later one of its parity.
    """
    totals = [_rle_pixels(counts[i : i + _BATCH]) for i in range(0, len(counts), _BATCH)]
    return np.concatenate(totals) if totals else np.zeros(0, dtype=np.int64)


def _rle_pixels(counts: Sequence[bytes]) -> np.ndarray:
    # an empty string stands for zero pixels; '0' (the number zero) says the same and keeps the segments non-empty
    strings = [c or b"0" for c in counts]
    codes = np.frombuffer(b"".join(strings), dtype=np.uint8) - np.uint8(48)
    last = (codes & 0x20) == 0
    char_ends = np.cumsum([len(s) for s in strings])
    cut = ~last[char_ends - 1]
    last[char_ends - 1] = True  # keeps the numbers of neighbouring strings apart

    ends = np.flatnonzero(last)
    digits = np.diff(ends, prepend=-1)  # characters per number
    starts = ends - digits + 1
    values = (codes[starts] & 0x1F).astype(np.int64)
    for place in range(1, min(int(digits.max()), _MOST_DIGITS)):
        longer = np.flatnonzero(digits > place)
        values[longer] += (codes[starts[longer] + place] & 0x1F).astype(np.int64) << (5 * place)
    negative = np.flatnonzero(codes[ends] & 0x10)
    values[negative] -= np.int64(1) << np.minimum(5 * digits[negative], 5 * _MOST_DIGITS)

    number_ends = np.cumsum(last)[char_ends - 1]
    number_starts = np.concatenate([[0], number_ends[:-1]])
    lengths = number_ends - number_starts
    left = np.repeat(number_ends, lengths) - np.arange(len(values))  # numbers from here to the end of the string
    times = (left + 1) // 2
    times[number_starts] = 1
    totals = np.add.reduceat(values * times, number_starts)
    totals[cut] = -1
    return totals


def rle_fault(rle: Any, size: tuple[int, int]) -> str | None:
    """What is wrong with one results-file RLE for an image of (height, width) ``size``; ``None`` if it is sound."""
    if not isinstance(rle, dict) or "size" not in rle or "counts" not in rle:
        return "is not a run-length encoding with 'size' and 'counts'"
    if not isinstance(rle["counts"], str | bytes):
        return f"has counts of type {type(rle['counts']).__name__}, not a compressed string"
    if list(rle["size"]) != list(size):
        return f"has size {list(rle['size'])} but its image is {list(size)} (height, width)"
    try:
        hotcoco.mask.area(rle)
    except (ValueError, TypeError, OverflowError) as error:
        return f"cannot be decoded ({error})"
    pixels = int(rle_pixels([_as_bytes(rle["counts"])])[0])
    if pixels != size[0] * size[1]:
        return "is cut off" if pixels < 0 else f"describes {pixels} pixels, not height x width = {size[0] * size[1]}"
    return None


def rles_sound(rles: Sequence[Any], sizes: np.ndarray) -> bool:
    """Whether every RLE can be decoded and has exactly the pixels of its image.

    Args:
        rles: N results-file segmentations.
        sizes: N x 2 int, (height, width) of the image of each.
    """
    try:
        given = np.array([r["size"] for r in rles], dtype=np.int64).reshape(-1, 2)
        counts = [_as_bytes(r["counts"]) for r in rles]
        hotcoco.mask.area(list(rles))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False
    return bool((given == sizes).all() and (rle_pixels(counts) == sizes.prod(axis=1)).all())


def _as_bytes(counts: str | bytes) -> bytes:
    return counts if isinstance(counts, bytes) else counts.encode("ascii", errors="replace")
