"""Small videos with annotated objects, on disk."""

from pathlib import Path

import numpy as np

from pe_dense.data import VideoFolder, write_indexed_png


def moving_squares(frames: int, objects: int = 2, size: tuple[int, int] = (40, 60)) -> list[np.ndarray]:
    """Object k is a square that moves to the right, a little slower for each k."""
    masks = [np.zeros(size, dtype=np.uint8) for _ in range(frames)]
    for t, mask in enumerate(masks):
        for k in range(objects):
            mask[3 + 12 * k : 12 + 12 * k, 2 + t * 3 // (k + 1) % 40 : 12 + t * 3 // (k + 1) % 40] = k + 1
    return masks


def write_sequence(folder: Path, masks: list[np.ndarray], first: int = 0) -> None:
    for t, mask in enumerate(masks):
        write_indexed_png(folder / f"{first + t:05d}.png", mask)


def write_case(root: Path, lengths: dict[str, int]) -> VideoFolder:
    """``root/truth`` with sequences, ``root/results`` with the masks of the frame before: late by one."""
    for name, frames in lengths.items():
        masks = moving_squares(frames)
        write_sequence(root / "truth" / name, masks)
        write_sequence(root / "results" / name, [masks[0], *masks[:-1]])
    return VideoFolder(root / "truth")
