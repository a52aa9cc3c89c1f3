"""Colour bars and lists of classes."""

import numpy as np
import pytest

from pe_dense.visualization.colors import palette_color
from pe_dense.visualization.legends import class_column, class_names, class_strip, color_bar, color_table, colored

TABLE = color_table("plasma_r")


def test_colour_bar_runs_from_low_at_the_bottom():
    strip = color_bar(TABLE, 0, 10, 200, " m")
    column = strip[12:-12, 10].astype(int)
    assert np.abs(column[0] - TABLE[255]).max() < 12
    assert np.abs(column[-1] - TABLE[0]).max() < 12
    assert (strip[0] == 255).all()


@pytest.mark.parametrize("ends", [(0.0, 0.0), (1.001, 1.002), (-3.0, 3.0), (0.0, 1e-7), (5.0, 80.0)])
@pytest.mark.parametrize("height", [1, 12, 300])
def test_colour_bars_of_any_range_and_size(ends, height):
    assert color_bar(TABLE, *ends, height, " m", signed=True).shape[0] == height


def test_usual_bars_have_one_width():
    assert len({color_bar(TABLE, 0, high, 200, " m").shape[1] for high in (0.4, 3, 9.9, 80)}) == 1


def test_unknown_values_are_black_and_ends_are_kept():
    values = np.array([[-5.0, 0.0, 1.0, 9.0, np.nan]])
    picture = colored(values, np.isfinite(values), 0, 1, TABLE)
    assert np.array_equal(picture[0], [TABLE[0], TABLE[0], TABLE[255], TABLE[255], (0, 0, 0)])
    with pytest.raises(ValueError, match='no colour map "nope"'):
        color_table("nope")


def test_class_lists():
    assert class_names([1, 7], ["a", "b\nc"]) == ["b c", "7"]
    assert class_names([3], {3: "x"}) == ["x"]
    narrow = class_strip(range(30), None, 200, {"wrong": (1, 2, 3)}, 16)
    wide = class_strip(range(30), None, 2000, {"wrong": (1, 2, 3)}, 16)
    assert narrow.shape[1] == 200
    assert wide.shape[0] < 60 < narrow.shape[0]
    for strip in (narrow, wide):
        for color in (*map(palette_color, range(30)), (1, 2, 3)):
            assert (strip == color).all(axis=2).any()


def test_class_column_says_how_many_did_not_fit():
    shown = class_column(range(50), None, 120, 12)
    assert (shown == palette_color(4)).all(axis=2).any()
    assert not (shown == palette_color(5)).all(axis=2).any()
    assert (shown[-15:] < 128).any()  # "and 45 more"
    assert class_column(range(50), None, 5, 12).shape[0] == 5
