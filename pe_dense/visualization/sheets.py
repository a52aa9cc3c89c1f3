"""Several pictures in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from pe_dense.visualization.canvas import as_rgb, fit_into, save_image
from pe_dense.visualization.colors import Color
from pe_dense.visualization.labels import title_bars

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg")
"""An output of these names is one sheet, any other a folder."""

_BACKGROUND: Color = (32, 32, 32)
_GAP = 6
_TALLEST = 1.5  # height of a picture in widths of its cell, so that a very narrow one does not tower


def contact_sheet(
    images: Sequence[np.ndarray | Tensor],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    cell: int | tuple[int, int] = 384,
    path: str | Path | None = None,
) -> np.ndarray:
    """Arrange images of any size in a grid.

    Args:
        images: at least one image (see :func:`as_rgb`).
        titles: a text above each image.
        columns: images in a row; by default so many that the sheet is a little wider than high and well filled.
        cell: width, or (width, height), that each image is fitted into, its shape kept; given a width alone, a
            row is as high as its highest image.
        path: where to save the sheet, if given.

    Returns:
        H x W x 3 uint8 RGB.

    Raises:
        ValueError: if there is no image or the number of titles differs.
    """
    if not images:
        raise ValueError("contact_sheet: there are no images to show")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"contact_sheet: {len(images)} images but {len(titles)} titles")
    pictures = [as_rgb(image) for image in images]
    width, height = cell if isinstance(cell, tuple) else (cell, _typical_height(pictures, cell))
    columns = min(columns or _columns(len(images), width / height), len(images))
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    heights = [height if isinstance(cell, tuple) else max(_height_at(p, cell) for p in row) for row in rows]
    tiles = [[_fit(p, width, high) for p in row] for row, high in zip(rows, heights)]
    if titles is not None:
        size = max(11, min(18, width // 24))
        for first, row in zip(range(0, len(pictures), columns), tiles):
            texts = titles[first : first + columns]
            bars = title_bars(texts, [width] * len(row), size, _BACKGROUND)
            row[:] = [np.concatenate([bar, tile]) for bar, tile in zip(bars, row)]
    sheet = _grid(tiles, columns)
    if path is not None:
        save_image(path, sheet)
    return sheet


def side_by_side(
    left: np.ndarray | Tensor,
    right: np.ndarray | Tensor,
    titles: tuple[str, str] | None = ("ground truth", "predictions"),
    width: int = 0,
) -> np.ndarray:
    """Two pictures of one image next to each other, scaled to one height; each in the middle of ``width`` pixels."""
    pictures = [as_rgb(left), as_rgb(right)]
    height = max(p.shape[0] for p in pictures)
    pictures = [_fit(p, max(1, width, round(p.shape[1] * height / p.shape[0])), height) for p in pictures]
    return in_a_row(pictures, titles)


def in_a_row(pictures: Sequence[np.ndarray], titles: Sequence[str] | None = None) -> np.ndarray:
    """Pictures of one height next to each other: H' x W x 3 uint8."""
    if titles is not None:
        size = max(12, min(20, pictures[0].shape[0] // 28))
        bars = title_bars(titles, [p.shape[1] for p in pictures], size, _BACKGROUND)
        pictures = [np.concatenate([bar, picture]) for bar, picture in zip(bars, pictures)]
    gap = np.full((pictures[0].shape[0], _GAP, 3), _BACKGROUND, dtype=np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


def padded(picture: np.ndarray, width: int) -> np.ndarray:
    """The picture with background at its right: H x width x 3 uint8."""
    rest = np.full((picture.shape[0], width - picture.shape[1], 3), _BACKGROUND, dtype=np.uint8)
    return np.concatenate([picture, rest], axis=1)


def cell_size(width: int) -> tuple[int, int]:
    """(width, height) of the largest picture that a sheet of cells of this width shows without scaling it."""
    return width, round(_TALLEST * width)


def pair_size(width: int) -> tuple[int, int]:
    """The same for each of the two pictures of :func:`side_by_side`."""
    return (width - _GAP) // 2, round(0.7 * width)


def _columns(count: int, aspect: float) -> int:
    """Images in a row: a compromise between a sheet of shape 4:3 and few empty cells."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * aspect / rows / (4 / 3))) + 1.5 * (rows * columns - count) / count

    return min(range(1, count + 1), key=cost)


def _typical_height(pictures: Sequence[np.ndarray], width: int) -> int:
    return int(np.median([_height_at(p, width) for p in pictures]))


def _height_at(picture: np.ndarray, width: int) -> int:
    return max(1, round(min(width * picture.shape[0] / picture.shape[1], _TALLEST * width)))


def _fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale into width x height, shape kept, at the top middle of the background colour."""
    resized, _ = fit_into(picture, width, height)
    tile = np.full((height, width, 3), _BACKGROUND, dtype=np.uint8)
    x = (width - resized.shape[1]) // 2
    tile[: resized.shape[0], x : x + resized.shape[1]] = resized
    return tile


def _grid(rows: Sequence[Sequence[np.ndarray]], columns: int) -> np.ndarray:
    """Tiles of one width, those of a row also of one height, with gaps."""
    width = rows[0][0].shape[1]
    height = sum(row[0].shape[0] + _GAP for row in rows) + _GAP
    sheet = np.full((height, columns * (width + _GAP) + _GAP, 3), _BACKGROUND, dtype=np.uint8)
    y = _GAP
    for row in rows:
        for column, tile in enumerate(row):
            x = _GAP + column * (width + _GAP)
            sheet[y : y + tile.shape[0], x : x + width] = tile
        y += row[0].shape[0] + _GAP
    return sheet
