"""Batches for training and testing."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pe_dense.data.loader as loader_module
from pe_dense.data import (
    CocoDataset,
    ColorJitter,
    DataError,
    LargeScaleJitter,
    RandomFlip,
    ResizeShortestEdge,
    Transform,
    build_test_loader,
    build_train_loader,
)

CHAIN = [RandomFlip(), LargeScaleJitter(96), ColorJitter(0.2, 0.2, 0.2, 0.05)]


@pytest.fixture
def balloons(real_data):
    return CocoDataset(real_data / "balloon_640/val.json", real_data / "balloon_640/val")


def _take(loader, start, count):
    stream = loader.iterate(start)
    batches = list(itertools.islice(stream, count))
    stream.close()
    return batches


def _assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for a, b in zip(batch, other, strict=True):
            assert a["image_id"] == b["image_id"]
            assert torch.equal(a["image"], b["image"])
            for field in ("boxes", "classes", "masks"):
                assert torch.equal(getattr(a["instances"], field), getattr(b["instances"], field))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
def test_batches_depend_on_seed_and_step_only(balloons):
    expected = _take(build_train_loader(balloons, CHAIN, 4, num_workers=0, seed=3), 0, 5)
    for workers in (1, 3):
        _assert_same(_take(build_train_loader(balloons, CHAIN, 4, num_workers=workers, seed=3), 0, 5), expected)
    _assert_same(_take(build_train_loader(balloons, CHAIN, 4, num_workers=2, seed=3), 3, 2), expected[3:])
    other = _take(build_train_loader(balloons, CHAIN, 4, num_workers=0, seed=4), 0, 1)
    assert not torch.equal(other[0][0]["image"], expected[0][0]["image"])


def test_attributes(balloons):
    loader = build_train_loader(balloons, CHAIN, 4, num_workers=0)
    assert loader.dataset is balloons
    assert loader.batch_size == 4
    assert loader.steps_per_epoch == 13 / 4


def test_processes_share_a_batch(balloons, monkeypatch):
    expected = _take(build_train_loader(balloons, CHAIN, 4, num_workers=0), 7, 1)[0]
    parts = []
    for rank in range(2):
        monkeypatch.setattr(loader_module, "rank_and_world_size", lambda rank=rank: (rank, 2))
        parts += _take(build_train_loader(balloons, CHAIN, 4, num_workers=0), 7, 1)[0]
    _assert_same([parts], [expected])
    with pytest.raises(ValueError, match="multiple of their number, 2"):
        build_train_loader(balloons, CHAIN, 3)


def test_samples_are_consistent(balloons):
    for sample in itertools.chain(*_take(build_train_loader(balloons, CHAIN, 4, num_workers=0), 0, 6)):
        instances = sample["instances"]
        assert sample["image"].dtype == torch.uint8
        assert sample["image"].shape[1:] == instances.image_size
        assert instances.masks.shape == (len(instances), *instances.image_size)
        assert instances.boxes.dtype == torch.float32
        assert instances.classes.dtype == torch.int64
        for box, mask in zip(instances.boxes.numpy(), instances.masks.numpy()):
            ys, xs = np.nonzero(mask)
            np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=2)


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (2, 4)])
def test_test_loader_gives_each_image_once(balloons, workers, batch_size, monkeypatch):
    ids = []
    for rank in range(3):
        monkeypatch.setattr(loader_module, "rank_and_world_size", lambda rank=rank: (rank, 3))
        loader = build_test_loader(balloons, [ResizeShortestEdge(64, 64)], batch_size, num_workers=workers)
        batches = list(loader)
        assert len(batches) == len(loader)
        ids += [s["image_id"] for batch in batches for s in batch]
        assert max(max(s["image"].shape) for batch in batches for s in batch) == 64
        assert "instances" not in batches[0][0]
    assert ids == balloons.image_ids.tolist()


def test_ground_truth_on_request(balloons):
    loader = build_test_loader(balloons, [], num_workers=0, with_instances=True)
    sample = next(iter(loader))[0]
    assert sample["instances"].masks.shape[1:] == (sample["height"], sample["width"])


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_image_is_named(content, write, tmp_path, workers):
    path = write(content)
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:100])
    loader = build_test_loader(CocoDataset(path, tmp_path), [], num_workers=workers)
    with pytest.raises(DataError, match=r"^image .*b\.png cannot be decoded"):
        list(loader)
    (tmp_path / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"^image .*b\.png does not exist; check the image folder"):
        list(loader)


@pytest.mark.parametrize("build", [lambda d: build_train_loader(d, [], 1), lambda d: build_test_loader(d, [])])
def test_missing_images_are_noticed_at_once(content, write, tmp_path, build):
    dataset = CocoDataset(write(content), tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 images of .* are not in .*: a\.png"):
        build(dataset)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_annotation_is_named_with_its_image(content, write, tmp_path, workers):
    write(content)
    for row in content["images"]:
        del row["height"], row["width"]
    content["annotations"][1] = {**content["annotations"][1], "iscrowd": 0}
    content["annotations"][1]["segmentation"] = {"size": [60, 40], "counts": [0, 40, 2360]}
    dataset = CocoDataset(write(content), tmp_path)
    stream = build_train_loader(dataset, [], 2, num_workers=workers).iterate(0)
    with pytest.raises(DataError, match=r"^image .*a\.png: annotation id 12 has a run-length encoding of size"):
        next(stream)


class _Broken(Transform):
    def pixels(self, image, rng):
        raise KeyError("mistake")


@pytest.mark.parametrize("workers", [0, 1])
def test_mistake_in_a_transform_names_the_image(content, write, tmp_path, workers):
    loader = build_test_loader(CocoDataset(write(content), tmp_path), [_Broken()], num_workers=workers)
    with pytest.raises(RuntimeError, match=r"image a\.png cannot be loaded or transformed: KeyError\('mistake'\)"):
        list(loader)


def test_workers_outlive_signals_to_the_group(balloons):
    earlier = {child.pid for child in torch.multiprocessing.active_children()}  # of a test whose error still holds them
    stream = build_train_loader(balloons, CHAIN, 2, num_workers=1).iterate(0)
    next(stream)
    (worker,) = (child for child in torch.multiprocessing.active_children() if child.pid not in earlier)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    for _ in range(8):
        next(stream)
    stream.close()


def test_a_live_stream_does_not_hold_up_the_end_of_the_program(balloons, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pe_dense.data import *\n"
        "import pe_dense.data.loader as loader\n"
        "loader._GRACE_SECONDS = 3600\n"
        f"data = CocoDataset({str(balloons.json_file)!r}, {str(balloons.image_root)!r})\n"
        "stream = build_train_loader(data, [], 2, num_workers=1).iterate(0)\n"
        "next(stream)\n"
        "raise SystemExit(5)\n"
    )
    root = str(Path(__file__).parents[2])
    result = subprocess.run([sys.executable, script], env={**os.environ, "PYTHONPATH": root}, timeout=600)
    assert result.returncode == 5


def test_global_random_state_stays(balloons):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    _take(build_train_loader(balloons, CHAIN, 2, num_workers=1), 0, 2)
    list(build_test_loader(balloons, [ResizeShortestEdge(32)], num_workers=1))
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda d: build_train_loader(d, [], 0), "batch_size 0"),
        (lambda d: build_train_loader(d, [], 1, num_workers=-1), "num_workers -1"),
        (lambda d: build_train_loader(d, [], 1, seed=-1), "seed -1"),
        (lambda d: build_test_loader(d, [], 0), "batch_size 0"),
    ],
)
def test_unusable_settings(content, write, tmp_path, build, message):
    with pytest.raises(ValueError, match=message):
        build(CocoDataset(write(content), tmp_path))
