"""MOTS text: a row a mask, ``frame id class height width rle``, separated by blanks (Voigtlaender et al., CVPR 2019).

The last column is COCO's compressed run-length encoding. MOTSChallenge counts frames from 1, KITTI MOTS from 0. Class 1
is car, 2 pedestrian, 10 a region to ignore. Masks of one frame must not overlap.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pe_dense.data.errors import DataError
from pe_dense.data.mot.columns import RowChecks, read_bytes
from pe_dense.data.rle import rle_areas
from pe_dense.structures import Tracks, encode_rle

MOTS_CAR, MOTS_PEDESTRIAN, MOTS_IGNORE = 1, 2, 10

_COLUMNS = 6


def read_mots(path: str | os.PathLike[str], what: str = "ground truth", first_frame: int = 1) -> Tracks:
    """Ground truth or results with masks; boxes are those around the masks.

    Args:
        path: the file; an empty one has no object.
        what: what it holds, for messages.
        first_frame: the number of the first frame: 1 in MOTSChallenge, 0 in KITTI MOTS.

    Returns:
        Rows by frame; regions of class 10 have the id -1 and count as ``ignored``.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a line is wrong, a mask damaged, or masks of a frame overlap.
    """
    text = read_bytes(path, what).decode("utf-8", errors="replace")
    rows = [(number, cells) for number, line in enumerate(text.splitlines(), 1) if (cells := line.split())]
    if not rows:
        return Tracks.empty(masks=True)
    checks = RowChecks(path, what, np.array([number for number, _ in rows]))
    lengths = np.array([len(cells) for _, cells in rows])
    checks.refuse(
        lengths != _COLUMNS,
        lambda r: f"has {lengths[r]} columns, not the {_COLUMNS} of MOTS (frame id class height width rle)",
    )
    try:
        numbers = np.array([cells[:5] for _, cells in rows]).astype(np.float64)
    except ValueError as error:
        raise DataError(f"{what} {path}: {error}; frame, id, class, height and width must be numbers") from None
    frames = checks.whole_numbers("frame", numbers[:, 0], first_frame) - first_frame
    ids = checks.whole_numbers("id", numbers[:, 1], 0)
    classes = checks.whole_numbers("class", numbers[:, 2], 0)
    sizes = np.stack([checks.whole_numbers("height and width", numbers[:, c], 1) for c in (3, 4)], axis=1)
    counts = [cells[5].encode("utf-8") for _, cells in rows]
    _check_masks(checks, counts, sizes)
    ignored = classes == MOTS_IGNORE
    ids = np.where(ignored, -1, ids)
    checks.distinct(frames, ids, lambda frame: frame + first_frame)
    masks = [{"size": size, "counts": c} for size, c in zip(sizes.tolist(), counts)]
    boxes = np.asarray(coco_mask.toBbox(masks))
    boxes[:, 2:] += boxes[:, :2]
    tracks = Tracks.create(frames, boxes, ids, classes=classes, ignored=ignored, masks=masks).sorted()
    _check_overlap(tracks, path, what, first_frame)
    return tracks


def _check_masks(checks: RowChecks, counts: list[bytes], sizes: np.ndarray) -> None:
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in counts])]).astype(np.int64)
    pixels = rle_areas(np.frombuffer(b"".join(counts), dtype=np.uint8), offsets)
    checks.refuse(pixels < 0, lambda _: "the mask's run-length encoding is damaged; write the file again")
    checks.refuse(
        pixels != sizes.prod(axis=1),
        lambda r: f"the mask describes {pixels[r]} pixels, not height x width = {sizes[r, 0]} x {sizes[r, 1]}",
    )


def _check_overlap(tracks: Tracks, path: str | os.PathLike[str], what: str, first_frame: int) -> None:
    offsets = tracks.offsets(tracks.num_frames)
    for frame in np.flatnonzero(np.diff(offsets) > 1):
        rows = tracks[offsets[frame] : offsets[frame + 1]]
        assert rows.masks is not None
        if len({tuple(mask["size"]) for mask in rows.masks}) > 1:
            raise DataError(f"{what} {path}: masks of frame {frame + first_frame} differ in their height or width")
        parts = list(rows.masks[~rows.ignored])
        if rows.ignored.any():
            parts.append(coco_mask.merge(list(rows.masks[rows.ignored])))
        if coco_mask.area(coco_mask.merge(parts)) != sum(coco_mask.area(parts).tolist()):
            raise DataError(
                f"{what} {path}: masks of frame {frame + first_frame} overlap, but in MOTS a pixel belongs to one "
                "object; give each pixel to the mask with the highest score"
            )


def write_mots(path: str | os.PathLike[str], tracks: Tracks, first_frame: int = 1) -> None:
    """Write masks with their ids and classes; rows without an id must be ``ignored`` (they get the id 10000).

    Raises:
        ValueError: if there are no masks, or a mask has no id.
    """
    if tracks.masks is None:
        raise ValueError(f"{path}: MOTS needs a mask for every object, but {tracks!r} has only boxes")
    if ((tracks.ids < 0) & ~tracks.ignored).any():
        raise ValueError(f"{path}: results need an id for every mask, but {tracks!r} has masks without")
    order = np.lexsort((tracks.ids, tracks.frames))
    part = tracks[order]
    assert part.masks is not None
    ids = np.where(part.ids < 0, MOTS_IGNORE * 1000, part.ids).tolist()
    lines = []
    for frame, number, kind, mask in zip(part.frames.tolist(), ids, part.classes.tolist(), part.masks):
        counts = mask["counts"]
        encoded = counts.decode("ascii") if isinstance(counts, bytes) else counts
        lines.append(f"{frame + first_frame} {number} {kind} {mask['size'][0]} {mask['size'][1]} {encoded}\n")
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines), encoding="ascii")


def disjoint_masks(masks: Sequence[dict[str, Any]], scores: np.ndarray) -> list[dict[str, Any]]:
    """The masks of one frame without overlap, as MOTS wants them: a pixel belongs to the mask with the highest score,
    of equal ones to the first. What is left of a mask may be empty.

    Args:
        masks: N COCO run-length encodings of the same size.
        scores: N.
    """
    if len(masks) < 2 or coco_mask.area(coco_mask.merge(list(masks))) == sum(coco_mask.area(list(masks)).tolist()):
        return list(masks)
    owners = np.zeros(masks[0]["size"], dtype=np.int32, order="F")
    for row in np.argsort(-np.asarray(scores), kind="stable")[::-1].tolist():  # the best one last, over all others
        owners[coco_mask.decode(masks[row]).astype(bool)] = row + 1
    return [encode_rle(owners == row + 1) for row in range(len(masks))]
