"""The vectorised check of run-length encodings."""

import numpy as np
from pycocotools import mask as coco_mask

import pe_dense.data.rle as rle


def _areas(texts):
    offsets = np.cumsum([0, *map(len, texts)])
    return rle.rle_areas(np.frombuffer(b"".join(texts), dtype=np.uint8), offsets).tolist()


def _random_texts(count):
    rng = np.random.default_rng(0)
    texts, areas = [], []
    for _ in range(count):
        height, width = rng.integers(1, 400, 2).tolist()
        mask = rng.random((height, width)) < rng.choice([0, 0.001, 0.5, 1])
        texts.append(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])
        areas.append(height * width)
    return texts, areas


def test_areas_of_pycocotools_encodings():
    texts, areas = _random_texts(60)
    assert _areas(texts) == areas


def test_chunks_do_not_matter(monkeypatch):
    texts, areas = _random_texts(30)
    monkeypatch.setattr(rle, "_CHUNK", 50)
    assert _areas(texts) == areas


def test_malformed_encodings_do_not_disturb_others():
    texts, areas = _random_texts(3)
    bad = [b"", b"\x01", b"oo", b"~", b"o" * 20 + b"1", b"1N"]  # empty, illegal, unfinished, too long, negative run
    mixed = [bad[0], texts[0], *bad[1:4], texts[1], *bad[4:], texts[2]]
    found = _areas(mixed)
    assert [found[1], found[5], found[8]] == areas
    assert [a for i, a in enumerate(found) if i not in (1, 5, 8)] == [-1] * 6
    assert _areas([]) == []
