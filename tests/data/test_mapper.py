"""Samples with depth and semantic labels."""

import cv2
import numpy as np
import pytest
import torch

from pe_dense.data import (
    CamVid,
    Crop,
    DataError,
    DepthList,
    FixedSizeCrop,
    MappedDataset,
    RandomFlip,
    RandomRotation,
    RandomScale,
    SemSegFolder,
    build_test_loader,
    build_train_loader,
)


@pytest.fixture
def codes(tmp_path):
    """An image whose red channel, a depth map and a mask that all tell the column."""
    columns = np.tile(np.arange(100, dtype=np.uint8), (60, 1))
    for folder in ("rgb", "depth", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "rgb/a.png"), np.stack([columns * 0, columns * 0, columns * 2 + 2], axis=2))
    cv2.imwrite(str(tmp_path / "depth/a.png"), columns.astype(np.uint16) * 100 + 100)
    cv2.imwrite(str(tmp_path / "labels/a.png"), columns)
    return tmp_path


CHAIN = [RandomFlip(), RandomScale(0.5, 2), RandomRotation(4, 0.7), FixedSizeCrop((50, 80), pad=True)]


def test_image_depth_and_labels_stay_together(codes):
    depth = MappedDataset(DepthList(codes / "rgb", codes / "depth"), CHAIN)
    labels = MappedDataset(SemSegFolder(codes / "rgb", codes / "labels", [str(i) for i in range(100)]), CHAIN)
    for seed in range(20):
        a, b = (data.sample(0, np.random.default_rng(seed)) for data in (depth, labels))
        assert torch.equal(a["image"], b["image"])
        assert (a["depth"].dtype, b["sem_seg"].dtype) == (torch.float32, torch.int64)
        assert a["depth"].shape == b["sem_seg"].shape == a["image"].shape[1:] == (50, 80)
        known = b["sem_seg"] != 255
        assert torch.equal(known, a["depth"] > 0)
        torch.testing.assert_close(a["depth"][known] * 10, b["sem_seg"][known] + 1.0)
        columns = a["image"][0].float() / 2 - 1
        inside = torch.nn.functional.avg_pool2d(known[None].float(), 5, 1, 2)[0] == 1
        assert (columns - b["sem_seg"])[inside].abs().max() <= 2
        assert inside.float().mean() > 0.1


def test_labels_stay_out_of_tests(codes, monkeypatch):
    dataset = SemSegFolder(codes / "rgb", codes / "labels", [str(i) for i in range(100)])
    sample = next(iter(build_test_loader(dataset, [], num_workers=0, with_instances=True)))[0]
    assert torch.equal(sample["sem_seg"], torch.from_numpy(dataset.read_sem_seg(0).astype(np.int64)))
    monkeypatch.setattr(dataset, "read_sem_seg", None)  # not even read
    sample = next(iter(build_test_loader(dataset, [], num_workers=0)))[0]
    assert sample.keys() == {"image", "height", "width", "image_id", "file_name"}


def test_image_smaller_than_a_fixed_window_is_named(codes):
    loader = build_train_loader(DepthList(codes / "rgb", codes / "depth"), [Crop(45, 43, 427, 565)], 1, num_workers=0)
    with pytest.raises(DataError, match=r"^image .*rgb/a\.png: it is 100 x 60 where the transforms cut out"):
        next(loader.iterate(0))


def test_images_smaller_than_the_crop_keep_their_size(codes):
    chain = [RandomFlip(), FixedSizeCrop((64, 80))]
    for dataset, key in (
        (DepthList(codes / "rgb", codes / "depth"), "depth"),
        (SemSegFolder(codes / "rgb", codes / "labels", [str(i) for i in range(100)]), "sem_seg"),
    ):
        (sample,) = next(build_train_loader(dataset, chain, 1, num_workers=0).iterate(0))
        assert sample["image"].shape == (3, 60, 80)
        assert sample[key].shape == (60, 80)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")
def test_batches_from_workers(real_data):
    dataset = CamVid(real_data / "camvid_small", "val")
    chain = [RandomFlip(), RandomScale(), FixedSizeCrop(128, 0.75, pad=True)]
    batches = [next(build_train_loader(dataset, chain, 4, num_workers=n, seed=1).iterate(2)) for n in (0, 2)]
    for a, b in zip(*batches, strict=True):
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["sem_seg"], b["sem_seg"])
        assert a["sem_seg"].shape == (128, 128)
        assert set(a["sem_seg"].unique().tolist()) <= {*range(11), 255}
