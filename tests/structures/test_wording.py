"""Counts and lists in messages."""

import pytest

from pe_dense.structures.wording import counted, few


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (1, "class", "1 class"),
        (80, "class", "80 classes"),
        (2, "category", "2 categories"),
        (2, "key", "2 keys"),
        (3, "box of zero size", "3 boxes of zero size"),
        (1, "box of zero size", "1 box of zero size"),
    ],
)
def test_counted(number, what, text):
    assert counted(number, what) == text


def test_few():
    assert [few([]), few(["a"]), few(["a", "b", "c"], 3), few(list("abcde"), 3)] == [
        "",
        "a",
        "a, b, c",
        "a, b, c and 2 more",
    ]
