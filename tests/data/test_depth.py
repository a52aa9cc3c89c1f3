"""Images with depth maps."""

import csv
import json
import pickle

import cv2
import numpy as np
import pytest
import torch

from pe_dense.data import DataError, DepthList, KITTIDepth, NYUDepth
from pe_dense.data.scenes import write_scenes


def _write(root, image, depth, values, size=(6, 8)):
    for name in (image, depth):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / image), np.full((*size, 3), 90, dtype=np.uint8))
    if str(depth).endswith(".npy"):
        np.save(root / depth, values)
    else:
        cv2.imwrite(str(root / depth), values)


def _millimetres(size=(6, 8), seed=0):
    return np.random.default_rng(seed).integers(1000, 5000, size).astype(np.uint16)


def test_items(tmp_path):
    depth = _millimetres()
    _write(tmp_path, "rgb/a.png", "d/a.png", depth)
    dataset = DepthList(tmp_path / "rgb", tmp_path / "d", scale=1000)
    item = dataset[0]
    assert len(dataset) == 1
    assert item["image"].shape == (3, 6, 8)
    assert (item["height"], item["width"], item["image_id"]) == (6, 8, 0)
    assert item["file_name"] == dataset.file_name(0) == str(tmp_path / "rgb/a.png")
    assert item["depth"].dtype == np.float32
    np.testing.assert_allclose(item["depth"], depth / 1000, rtol=1e-6)
    np.testing.assert_array_equal(dataset.read_depth(0), item["depth"])
    assert "depth" not in dataset.unlabelled(0)
    with pytest.raises(IndexError, match="item 1 of a data set of 1 image"):
        dataset[1]
    assert pickle.loads(pickle.dumps(dataset)).file_name(0) == dataset.file_name(0)


def test_list_with_a_scale_per_line(tmp_path):
    _write(tmp_path, "a.png", "a_d.png", np.full((6, 8), 256, dtype=np.uint16))
    _write(tmp_path, "b.png", "b_d.npy", np.full((6, 8), 2.5, dtype=np.float32))
    (tmp_path / "l.csv").write_text(
        f"image,depth,scale,focal_length\na.png,a_d.png,256,500\n{tmp_path}/b.png,b_d.npy,,\n"
    )
    dataset = DepthList(tmp_path / "l.csv")
    assert [float(dataset.read_depth(i).mean()) for i in range(2)] == [1.0, 2.5]
    assert dataset[0]["focal_length"] == 500
    assert "focal_length" not in dataset[1]


def test_folder_and_list_are_told_apart(tmp_path):
    (tmp_path / "l.txt").write_text("a b\n")
    with pytest.raises(ValueError, match="is a folder; give the folder of its depth maps as depths"):
        DepthList(tmp_path)
    with pytest.raises(ValueError, match="is a list and names the depth maps itself; leave out depths"):
        DepthList(tmp_path / "l.txt", tmp_path)
    _write(tmp_path, "rgb/a.png", "d/a.png", _millimetres())
    with pytest.raises(ValueError, match=r"scale is 0; give the stored units per metre"):
        DepthList(tmp_path / "rgb", tmp_path / "d", scale=0)


def test_real_pairs(real_data, tmp_path):
    root = real_data / "rgbd_registered"
    with (tmp_path / "l.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "depth", "scale"])
        for row in json.loads((root / "index.json").read_text()):
            rows.writerow([root / row["rgb"], root / row["depth"], row["depth_scale"]])
    dataset = DepthList(tmp_path / "l.csv")
    assert len(dataset) == 13
    for i in range(13):
        depth = dataset[i]["depth"]
        low, high, share = (8, 20, 0.15) if "kitti" in dataset.file_name(i) else (1.5, 4, 0.6)
        assert low < np.median(depth[depth > 0]) < high
        assert (depth > 0).mean() > share
    assert len(DepthList(root, root, 1000, "_rgb", "_depth")) == 13


def _real_list(root, prefix, path, focal_length):
    rows = [row for row in json.loads((root / "index.json").read_text()) if row["name"].startswith(prefix)]
    path.write_text("".join(f"{row['rgb']} {row['depth']} {focal_length}\n" for row in rows))
    return path


def test_readers_of_nyu_and_kitti_on_real_pairs(real_data, tmp_path, caplog):
    root = real_data / "rgbd_registered"
    nyu = NYUDepth(root, "test", _real_list(root, "nyu", tmp_path / "nyu.txt", 518.8579))
    kitti = KITTIDepth(root, _real_list(root, "kitti", tmp_path / "kitti.txt", 707.0493), root)
    for dataset, count, size, medians, share in (
        (nyu, 4, (480, 640), (1.5, 4), 0.6),
        (kitti, 3, (352, 1216), (8, 20), 0.15),
    ):
        assert len(dataset) == count
        for i in range(count):
            item = dataset[i]
            assert item["depth"].shape == item["image"].shape[1:] == size
            assert medians[0] < np.median(item["depth"][item["depth"] > 0]) < medians[1]
            assert (item["depth"] > 0).mean() > share
    assert not caplog.records  # nothing suspicious about scale or content


def test_embedded_scenes(tmp_path):
    paths = write_scenes(tmp_path, train=2, val=1, size=64, videos=0)
    dataset = DepthList(paths.train_images, paths.train_depth, 1000)
    assert len(dataset) == 2
    assert 1 < dataset[0]["depth"].min() <= dataset[0]["depth"].max() < 13


@pytest.fixture
def nyu(tmp_path):
    _write(tmp_path, "sync/kitchen_0028b/rgb_00045.jpg", "sync/kitchen_0028b/sync_depth_00045.png", _millimetres())
    test = "official_splits/test/bathroom"
    _write(tmp_path, f"{test}/rgb_00045.jpg", f"{test}/sync_depth_00045.png", _millimetres(seed=1))
    (tmp_path / "nyudepthv2_train_files_with_gt.txt").write_text(
        "/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579\n"
    )
    (tmp_path / "nyu_test.txt").write_text("bathroom/rgb_00045.jpg bathroom/sync_depth_00045.png 518.8579\n")
    return tmp_path


def test_nyu(nyu):
    for split, seed in (("train", 0), ("test", 1)):
        item = NYUDepth(nyu, split)[0]
        np.testing.assert_allclose(item["depth"], _millimetres(seed=seed) / 1000, rtol=1e-6)
        assert item["focal_length"] == 518.8579
    (nyu / "mine.txt").write_text("/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579\n")
    assert len(NYUDepth(nyu / "sync", "test", nyu / "mine.txt")) == 1
    with pytest.raises(ValueError, match='split is "val"; choose "train" or "test"'):
        NYUDepth(nyu, "val")


def test_split_list_with_missing_files(nyu):
    with (nyu / "nyu_test.txt").open("a") as file:
        file.writelines(f"bedroom/rgb_{i:05}.jpg bedroom/sync_depth_{i:05}.png 518.8579\n" for i in range(9))
    with pytest.raises(FileNotFoundError, match=r"nyu_test\.txt: 18 of 20 files do not exist: .*; check") as error:
        NYUDepth(nyu, "test")
    assert all(f"{name}_{i:05}" in str(error.value) for i in range(9) for name in ("bedroom/rgb", "sync_depth"))


@pytest.fixture
def kitti(tmp_path):
    drive = "2011_09_26_drive_0002_sync"
    depth = np.zeros((375, 1242), dtype=np.uint16)
    depth[23, 13], depth[-1, -1 - 13], depth[22, 13] = 256 * 10, 256 * 20, 256 * 30
    image, truth = f"2011_09_26/{drive}/image_02/data/0000000069.png", f"{drive}/proj_depth/groundtruth/image_02/69.png"
    _write(tmp_path, image, f"data_depth_annotated/val/{truth}", depth, (375, 1242))
    (tmp_path / "test.txt").write_text(f"{image} {truth} 721.5377\n{image} None 721.5377\n")
    return tmp_path


def test_kitti(kitti):
    dataset = KITTIDepth(kitti, kitti / "test.txt")
    item = dataset[0]
    assert len(dataset) == 1  # the line without depth is left out
    assert item["image"].shape == (3, 352, 1216)
    assert (item["height"], item["width"]) == item["depth"].shape == (352, 1216)
    assert item["depth"][0, 0] == 10  # the crop of the reference implementation
    assert item["depth"][-1, -1] == 20
    assert (item["depth"] > 0).sum() == 2
    whole = KITTIDepth(kitti, kitti / "test.txt", kitti / "data_depth_annotated", kb_crop=False)[0]
    assert whole["depth"].shape == (375, 1242)
    assert whole["image"].shape == (3, 375, 1242)


def test_kitti_crop_agrees_with_the_reference(fixtures):
    expected = json.loads((fixtures / "depth/expected.json").read_text())["crops"]["kb_crop_375x1242"]
    window = KITTIDepth._window(
        type("Crop", (), {"kb_crop": True}), np.arange(375 * 1242).reshape(375, 1242), "numbered pixels"
    )
    assert list(window.shape) == expected["shape"]
    assert window[0, 0] == expected["first_value"]


def test_kitti_image_smaller_than_the_crop(kitti):
    _write(kitti, "2011_09_26/small.png", "gt_depth/small.png", np.ones((340, 1242), dtype=np.uint16), (340, 1242))
    (kitti / "small.txt").write_text("2011_09_26/small.png small.png\n")
    with pytest.raises(DataError, match=r"small\.png is 1242 x 340, smaller than KITTI's crop of 1216 x 352;"):
        KITTIDepth(kitti, kitti / "small.txt")[0]


def _one(tmp_path, values, **settings):
    _write(tmp_path, "rgb/a.png", f"d/a.{'npy' if values.dtype.kind == 'f' else 'png'}", values)
    return DepthList(tmp_path / "rgb", tmp_path / "d", **settings)


def test_size_mismatch(tmp_path):
    dataset = _one(tmp_path, _millimetres((6, 7)))
    with pytest.raises(
        DataError,
        match=r"depth map .*d/a\.png is 7 pixels wide and 6 high but its .*a\.png is 8 wide and 6",
    ):
        dataset[0]


def test_8_bit_depth(tmp_path):
    with pytest.raises(DataError, match=r"d/a\.png has only 8 bits"):
        _one(tmp_path, np.ones((6, 8), dtype=np.uint8))[0]


def test_wrong_scale_is_said_once(tmp_path, caplog):
    dataset = _one(tmp_path, _millimetres(), scale=1)
    for _ in range(3):
        assert dataset.read_depth(0).max() > 1000
    assert len(caplog.records) == 1
    assert "d/a.png has a median depth of " in caplog.text
    assert "with scale 1; set scale to the stored units per metre (1000 for millimetres)" in caplog.text


def test_plausible_range_is_the_data_sets(nyu, caplog):
    depth = np.full((6, 8), 15_000, dtype=np.uint16)
    cv2.imwrite(str(nyu / "sync/kitchen_0028b/sync_depth_00045.png"), depth)
    NYUDepth(nyu, "train").read_depth(0)
    assert "median depth of 15 m, outside 0.2..10 m" in caplog.text
    caplog.clear()
    DepthList(nyu / "sync", nyu / "sync", 1000, "rgb_00045", "sync_depth_00045").read_depth(0)
    assert not caplog.records


def test_depth_without_any_value(tmp_path, caplog):
    dataset = _one(tmp_path, np.zeros((6, 8), dtype=np.uint16))
    assert not dataset[0]["depth"].any()
    assert "d/a.png has no known depth at all" in caplog.text


def test_nan_and_infinite_values_are_unknown(tmp_path, caplog):
    values = np.full((6, 8), 2.0, dtype=np.float32)
    values[0, :4] = np.nan, np.inf, -np.inf, -1
    depth = _one(tmp_path, values)[0]["depth"]
    np.testing.assert_array_equal(depth[0, :5], [0, 0, 0, 0, 2])
    assert np.isfinite(depth).all()
    assert "d/a.npy has 4 NaN, infinite or negative values, which count as unknown" in caplog.text


def test_few_known_points_beside_the_grid(tmp_path, caplog):
    values = np.zeros((6, 8), dtype=np.uint16)
    values[1, 1] = 3000
    assert _one(tmp_path, values).read_depth(0)[1, 1] == 3
    assert not caplog.records
    assert torch.is_tensor(_one(tmp_path, values)[0]["image"])
