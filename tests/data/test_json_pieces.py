"""A list read in pieces is what the whole file says, whatever its entries hold."""

import json

import pytest

from pe_dense.data import json_pieces
from pe_dense.data.coco_json import parse_coco
from pe_dense.data.errors import DataError
from pe_dense.data.json_pieces import load_in_pieces, load_json

ENTRIES = {
    "plain": [{"id": i, "bbox": [i, 1.5, 2, 3]} for i in range(40)],
    "brackets in strings": [{"id": i, "text": '}, {"a": [\\"'[: i % 12] + "}]"} for i in range(40)],
    "objects in objects": [{"id": i, "rle": {"size": [3, 4], "counts": "ab}]"}, "area": i} for i in range(40)],
    "lists of objects": [{"id": i, "parts": [{"x": i}, {"x": 2}], "more": [{}]} for i in range(40)],
    "other alphabets": [{"id": i, "name": "Gänse 鵞鳥 \u2028"} for i in range(40)],
    "no numbers": [{"id": i, "bbox": [float("nan"), float("-inf")]} for i in range(40)],
    "none": [],
    "one": [{}],
}
REST = {"info": {"text": 'the "annotations": [ {} ]'}, "images": [{"id": 1}, {"id": 2}], "categories": [{"id": 3}] * 9}
WRITERS = {
    "compact": {"separators": (",", ":")},
    "usual": {},
    "indented": {"indent": 4, "ensure_ascii": False},
    "spaced": {"separators": (" ,\r\n\t", " : ")},
}


def in_pieces(path):
    pieces = []
    content = load_in_pieces(path, "annotations", pieces.append)
    return content, pieces


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(json_pieces, "_PIECE", 300)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ENTRIES)
def test_as_the_whole(name, writer, tmp_path):
    path = tmp_path / "a.json"
    for place in (0, 2, 3):
        items = list(REST.items())
        items.insert(place, ("annotations", ENTRIES[name]))
        path.write_bytes(b"\xef\xbb\xbf" * (place == 3) + json.dumps(dict(items), **WRITERS[writer]).encode())
        content, pieces = in_pieces(path)
        assert content == {**REST, "annotations": []}
        assert repr([entry for piece in pieces for entry in piece]) == repr(load_json(path)["annotations"])
        assert len(pieces) > 3 or len(ENTRIES[name]) < 2
        assert max(map(len, pieces), default=0) <= 20


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"annotations": 3}', '{"annotations": [{"id": 1}, {"id": 2}',
        '{"annotations": [{"id": 1} {"id": 2}]}', '{"annotations": [{"id": 1},]}', '{"annotations": [{"id": 1}]',
        '{"annotations": [{"id": 1}]}}', '{"info": {"annotations": [{"id": 1}]}, "annotations": [{"id": 2}]}',
        '[{"annotations": [{"id": 1}]}]', '{"annotations": [{"id": 1}], "annotations": [{"id": 2}]}',
        '{"annotations": [{"id": 1}], "images": nothing}', '{"annotations": [,{"id": 1}]}',
    ],
)  # fmt: skip
def test_another_form(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    assert in_pieces(path)[0] is None


def test_a_file_that_is_cut_short_is_named(tmp_path):
    path = tmp_path / "a.json"
    text = json.dumps({"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": ENTRIES["plain"]})
    path.write_text(text[:-100])
    with pytest.raises(DataError, match=rf"{path} is not valid json: .*char \d+.*cut short"):
        parse_coco(path)


def test_the_annotation_at_fault_is_named(content, write):
    content["annotations"] = [{**content["annotations"][0], "id": i} for i in range(40)]
    content["annotations"][30]["image_id"] = 77
    with pytest.raises(DataError, match="annotation id 30 has image_id 77, which is not in 'images'"):
        parse_coco(write(content))
    content["annotations"][30]["image_id"] = content["annotations"][0]["image_id"] + 0.0  # as some scripts write it
    assert parse_coco(write(content)).num_objects == 40
