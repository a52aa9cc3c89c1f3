"""The layout of labels."""

from itertools import combinations

import numpy as np
import pytest

from pe_dense.visualization.labels import clean_text, load_font, place_labels, title_bars, wrap_text


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("count", [2, 10, 60])
def test_labels_do_not_overlap_and_stay_inside(count):
    rng = np.random.default_rng(count)
    corner, side = rng.uniform(0, 400, (count, 2)), rng.uniform(5, 200, (count, 2))
    boxes = np.concatenate([corner, corner + side], axis=1)
    sizes = [(int(w), 18) for w in rng.integers(40, 120, count)]
    places = place_labels(sizes, boxes.tolist(), 500, 450)
    spots = [(x, y, x + w, y + h) for (x, y), (w, h) in ((p, s) for p, s in zip(places, sizes) if p is not None)]
    assert (np.min(spots, axis=0) >= 0).all()
    assert (np.max(spots, axis=0) <= (500, 450, 500, 450)).all()
    assert not any(overlap(a, b) for a, b in combinations(spots, 2))
    assert len(spots) > 0.6 * count


def test_identical_boxes_get_labels_side_by_side_and_the_important_first():
    places = place_labels([(60, 20)] * 4, [(100, 100, 200, 200)] * 4, 400, 400)
    assert places[0] == (100, 80)  # above the top left corner
    assert len({p for p in places if p is not None}) == 4


def test_a_label_is_left_out_rather_than_drawn_over_another():
    assert place_labels([(50, 30)] * 3, [(0, 0, 50, 30)] * 3, 50, 30) == [(0, 0), None, None]


def test_text_is_made_printable():
    assert clean_text("a\nb\t c\ud800") == "a b c?"


def test_long_titles_are_wrapped_before_they_are_cut():
    font = load_font(14, bold=True)
    title = "000000000139.jpg: 640 x 480, 12 objects"
    assert wrap_text(title, font, 1000, 3) == [title]
    assert wrap_text(title, font, 200, 3) == ["000000000139.jpg: 640", "x 480, 12 objects"]
    pieces = wrap_text("x" * 30, font, 100, 3)
    assert "".join(pieces) == "x" * 30
    cut = wrap_text("x" * 500, font, 120, 3)
    assert len(cut) == 3
    assert cut[-1].endswith("x…")
    assert all(font.getlength(line) <= 120 for line in cut + pieces)
    assert wrap_text("", font, 1, 3) == [""]
    low, high = (title_bars(texts, [120, 90], 14) for texts in (["a", "b"], ["a", title]))
    assert [strip.shape[:2] for strip in high] == [(high[0].shape[0], 120), (high[0].shape[0], 90)]
    assert high[0].shape[0] > low[0].shape[0]
