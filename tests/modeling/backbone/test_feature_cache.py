"""Features on disk: what is refused, what is given up, what is found again."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from pe_dense.modeling.backbone import FeatureCache, PerceptionEncoder, feature_cache

SETTINGS = {"pixel_mean": [127.5] * 3, "precision": "fp32"}


def encoder(seed: int = 0, **options: Any) -> PerceptionEncoder:
    torch.manual_seed(seed)
    return PerceptionEncoder(8, 2, 2, 16, patch_size=8, grid_size=2, **options)


def opened(folder: Path, limit_gb: float = 1.0, **settings: Any) -> FeatureCache:
    cache = FeatureCache(folder, limit_gb)
    cache.open(encoder(), {**SETTINGS, **settings})
    return cache


def features(value: float = 1.0) -> dict[int, Any]:
    return {0: (torch.full((1, 8, 2, 3), value).bfloat16(), torch.full((1, 8), value).bfloat16()),
            1: (torch.full((1, 8, 2, 3), -value).bfloat16(), None)}  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    image = torch.randint(0, 256, (3, 16, 24), dtype=torch.uint8)
    key = cache.key(image)
    assert cache.read(key, [0]) is None
    cache.write(key, features())
    for again in (cache, opened(tmp_path)):
        found = again.read(key, [1, 0])
        assert found is not None
        assert [grid.shape for grid, _ in found] == [(1, 8, 2, 3)] * 2
        assert torch.equal(found[1][0], features()[0][0])
        assert torch.equal(found[1][1], features()[0][1])
        assert found[0][1] is None
    assert cache.read(key, [0, 2]) is None
    assert cache.key(image.clone()) == key
    assert cache.key(image.view(3, 24, 16)) != key


def test_the_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(ValueError, match=r"precision: fp32 there, torch.bfloat16 here"):
        opened(tmp_path, precision="torch.bfloat16")
    for other in (encoder(seed=1), encoder(rope="rescaled"), encoder(abs_pos="tile"), encoder(window_size=2)):
        with pytest.raises(ValueError, match=r"of other settings \(encoder: \w{16} there, \w{16} here\)"):
            FeatureCache(tmp_path, 1).open(other, SETTINGS)
    (tmp_path / "cache.json").write_text("{")
    with pytest.raises(ValueError, match=r"cache.json is damaged"):
        opened(tmp_path)


def test_a_small_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    size = 2 * (8 * 6 * 2) + 8 * 2
    cache = opened(tmp_path, 1.5 * size / 1e9)
    with caplog.at_level(logging.WARNING, "pe_dense"):
        for name in ("aa1", "bb2", "cc3"):
            cache.write(name, features())
    assert [cache.read(name, [0]) is not None for name in ("aa1", "bb2", "cc3")] == [True, False, False]
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == ["WARNING"]
    assert "takes no more images (its limit of" in caplog.text
    assert opened(tmp_path, 1.5 * size / 1e9)._left < size
    with pytest.raises(ValueError, match="limit_gb must be greater than 0"):
        FeatureCache(tmp_path, 0)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    cache = opened(tmp_path)

    def fail(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(feature_cache, "save_file", fail)
    cache.write("aa1", features())
    cache.write("aa2", features())
    assert caplog.text.count("No space left on device") == 1
    assert not list((tmp_path / "aa").iterdir())


def test_damaged_and_abandoned_files(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.write("aa1", features())
    path = tmp_path / "aa" / "aa1.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert cache.read("aa1", [0]) is None
    cache.write("aa1", features())
    assert cache.read("aa1", [0]) is not None
    for name, age in (("old.tmp", 7200), ("new.tmp", 0)):
        left = tmp_path / "aa" / name
        left.write_bytes(b"half")
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    opened(tmp_path)
    assert sorted(p.name for p in (tmp_path / "aa").iterdir()) == ["aa1.safetensors", "new.tmp"]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"feature cache .*file.* cannot be used"):
        opened(tmp_path / "file" / "cache")
