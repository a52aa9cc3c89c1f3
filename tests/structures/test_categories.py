import pytest

from pe_dense.structures import Categories


def test_gaps_and_order():
    rows = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13}]
    categories = Categories.from_json(rows)
    assert categories.ids == (1, 13, 90)
    assert categories.names == ("person", "13", "toothbrush")
    assert categories.contiguous == {1: 0, 13: 1, 90: 2}
    assert Categories.from_json(categories.to_json()) == categories
    assert len(categories) == 3


def test_repeated_ids():
    with pytest.raises(ValueError, match=r"category ids \[3\] appear more than once"):
        Categories.from_json([{"id": 3, "name": "a"}, {"id": 3, "name": "b"}])
    with pytest.raises(ValueError, match="2 category ids but 1 names"):
        Categories((1, 2), ("a",))
