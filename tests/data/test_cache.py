"""The cache of parsed annotations."""

import logging
import os
import pickle

import numpy as np
import pytest

import pe_dense.data.cache as cache_module
from pe_dense.data.cache import load_table
from pe_dense.data.coco_json import parse_coco


@pytest.fixture
def parses(monkeypatch):
    """Counts how often a json is parsed."""
    calls = []
    monkeypatch.setattr(cache_module, "parse_coco", lambda path: calls.append(path) or parse_coco(path))
    return calls


def _assert_equal(table, other):
    assert table.categories == other.categories
    assert table.arrays.keys() == other.arrays.keys()
    for name, array in table.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        np.testing.assert_array_equal(array, other.arrays[name])


def test_second_start_does_not_parse(content, write, parses):
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    path = write(content)
    first, second = load_table(path), load_table(path)
    assert len(parses) == 1
    _assert_equal(first, parse_coco(path))
    _assert_equal(second, first)
    assert second.skipped == {"box of zero or negative size": [1, [11]]}
    assert not second.arrays["boxes"].flags.writeable


def test_changed_json_is_parsed_again(content, write, parses, cache):
    load_table(write(content))
    content["annotations"].pop()
    assert load_table(write(content)).num_objects == 1
    assert len(parses) == 2
    assert len(list(cache.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_cache_is_built_again(content, write, parses, cache, caplog, damage):
    path = write(content)
    expected = load_table(path)
    (file,) = cache.rglob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-3] ^= 255
    damaged = {"cut": data[:-40], "flip": data, "empty": b"", "text": b"{}" * 40}[damage]
    file.unlink()  # the pages of the first table stay as they were
    file.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        _assert_equal(load_table(path), expected)
    assert "damaged" in caplog.text
    assert len(parses) == 2
    load_table(path)
    assert len(parses) == 2


def test_unwritable_cache_is_only_a_warning(content, write, monkeypatch, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PE_DENSE_CACHE", str(blocked / "below"))
    path = write(content)
    with caplog.at_level(logging.WARNING):
        table = load_table(path)
    assert "set PE_DENSE_CACHE" in caplog.text
    _assert_equal(table, parse_coco(path))
    _assert_equal(pickle.loads(pickle.dumps(table)), table)


def test_full_disk_is_only_a_warning(content, write, monkeypatch, cache, caplog):
    def save(arrays, filename, metadata):
        filename.write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(cache_module, "save_file", save)
    with caplog.at_level(logging.WARNING):
        assert load_table(write(content)).num_objects == 2
    assert "No space left on device" in caplog.text
    assert not list(cache.rglob("*.tmp"))


def test_pickle_is_small_and_maps_the_same_file(content, write):
    content["annotations"] *= 50
    table = load_table(write(content))
    text = pickle.dumps(table)
    assert len(text) < 1000
    _assert_equal(pickle.loads(text), table)


def test_pickle_survives_a_deleted_cache(content, write, cache):
    table = load_table(write(content))
    text = pickle.dumps(table)
    for file in cache.rglob("*.safetensors"):
        os.unlink(file)
    _assert_equal(pickle.loads(text), table)
