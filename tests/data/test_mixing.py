"""Training batches from several data sets."""

from collections import Counter
from itertools import islice
from typing import Any

import pytest
import torch

import pe_dense.data.mixing as mixing
from pe_dense.data import CocoDataset, DataSource, DepthList, GammaJitter, RandomFlip, build_mixed_train_loader
from pe_dense.data.mixing import images_per_source
from pe_dense.data.scenes import ScenePaths, write_scenes


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataSource]:
    paths: ScenePaths = write_scenes(tmp_path_factory.mktemp("scenes"), train=7, val=3, size=64, videos=0)
    return {
        "objects": DataSource(CocoDataset(paths.train_json, paths.train_images), [RandomFlip()], share=2),
        "depth": DataSource(DepthList(paths.train_images, paths.train_depth, 1000), [GammaJitter()]),
    }


def take(loader: Any, start: int, count: int) -> list[list[dict[str, Any]]]:
    stream = loader.iterate(start)
    batches = list(islice(stream, count))
    stream.close()
    return batches


def kinds(batch: list[dict[str, Any]]) -> list[str]:
    return ["depth" if "depth" in s else "objects" for s in batch]


def names(batch: list[dict[str, Any]]) -> list[str]:
    return [s["file_name"] for s in batch]


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    return names(ours) == names(theirs) and all(torch.equal(a["image"], b["image"]) for a, b in zip(ours, theirs))


def test_every_batch_has_its_shares_and_every_image_its_turn(sources: dict[str, DataSource]) -> None:
    loader = build_mixed_train_loader(sources, batch_size=6, num_workers=0)
    batches = take(loader, 0, 7)
    assert loader.batch_size == 6
    assert loader.steps_per_epoch == 14 / 6
    assert loader.dataset.labels == ("instances", "depth")
    assert all(kinds(batch) == ["objects", "depth", "objects", "objects", "depth", "objects"] for batch in batches)
    for kind, rounds in (("objects", 4), ("depth", 2)):
        seen = Counter(s["file_name"] for b in batches for s, k in zip(b, kinds(b)) if k == kind)
        assert set(seen.values()) == {rounds}
        assert len(seen) == 7


def test_batches_depend_on_seed_and_step_only(sources: dict[str, DataSource]) -> None:
    expected = take(build_mixed_train_loader(sources, 6, num_workers=0, seed=3), 0, 5)
    for workers, start in ((0, 3), (2, 3)):
        again = take(build_mixed_train_loader(sources, 6, num_workers=workers, seed=3), start, 2)
        assert all(same(a, b) for a, b in zip(again, expected[start:], strict=True))
    other = take(build_mixed_train_loader(sources, 6, num_workers=0, seed=4), 0, 1)
    assert not same(other[0], expected[0])


def test_sources_of_equal_size_are_shuffled_differently(sources: dict[str, DataSource]) -> None:
    twice = {"a": sources["depth"], "b": sources["depth"]}
    batches = take(build_mixed_train_loader(twice, 2, num_workers=0), 0, 14)
    assert any(a["file_name"] != b["file_name"] for a, b in batches)


@pytest.mark.parametrize(("size", "even"), [(6, True), (3, False)])
def test_processes_share_a_batch(
    sources: dict[str, DataSource], size: int, even: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sources' images divide by the processes, all have the same mix."""
    world = 2 if even else 3
    whole = take(build_mixed_train_loader(sources, size, num_workers=0), 5, 1)[0]
    parts = []
    for rank in range(world):
        monkeypatch.setattr(mixing, "rank_and_world_size", lambda rank=rank: (rank, world))
        parts.append(take(build_mixed_train_loader(sources, size, num_workers=0), 5, 1)[0])
    assert same([s for part in parts for s in part], whole)
    assert (len({tuple(sorted(kinds(part))) for part in parts}) == 1) == even
    monkeypatch.setattr(mixing, "rank_and_world_size", lambda: (0, world))
    with pytest.raises(ValueError, match=f"multiple of their number, {world}"):
        build_mixed_train_loader({"a": sources["depth"]}, world + 1)


def test_shares() -> None:
    assert images_per_source({"a": 2, "b": 1, "c": 1}, 32) == [16, 8, 8]
    assert images_per_source({"a": 4, "b": 2}, 3) == [2, 1]
    with pytest.raises(ValueError, match=r"batch_size 4 cannot be divided .*\(a 2, b 1\): make it a multiple of 3"):
        images_per_source({"a": 2, "b": 1}, 4)
    for share in (0, 1.5, -1):
        with pytest.raises(ValueError, match=rf"sources\.b\.share is {share}; give a whole number"):
            images_per_source({"a": 1, "b": share}, 4)


def test_unusable_arguments(sources: dict[str, DataSource]) -> None:
    with pytest.raises(ValueError, match="sources is empty"):
        build_mixed_train_loader({}, 2)
    with pytest.raises(ValueError, match="seed -1 is negative"):
        build_mixed_train_loader(sources, 6, seed=-1)
    with pytest.raises(ValueError, match="num_workers -1"):
        build_mixed_train_loader(sources, 6, num_workers=-1)
