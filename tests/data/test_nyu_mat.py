"""The labelled part of NYU Depth v2."""

import builtins

import numpy as np
import pytest
from scipy.io import savemat

from pe_dense.data import DataError, NYUDepthMat


@pytest.fixture
def file(tmp_path):
    h5py = pytest.importorskip("h5py", reason="MATLAB 7.3 files need h5py")
    rng = np.random.default_rng(0)
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w") as content:
        content["images"] = rng.integers(0, 255, (4, 3, 8, 6), dtype=np.uint8)
        content["depths"] = rng.uniform(1, 9, (4, 8, 6)).astype(np.float32)
        content["rawDepths"] = np.zeros((4, 8, 6), dtype=np.float32)
    savemat(tmp_path / "splits.mat", {"trainNdxs": [[2], [4]], "testNdxs": [[1], [3]]})
    return path


def test_images_and_depth_are_turned_upright(file):
    import h5py

    dataset = NYUDepthMat(file)
    item = dataset[2]
    assert len(dataset) == 4
    assert (item["height"], item["width"]) == (6, 8) == item["depth"].shape
    with h5py.File(file) as content:
        np.testing.assert_array_equal(item["image"].numpy(), content["images"][2].transpose(0, 2, 1))
        np.testing.assert_array_equal(item["depth"], content["depths"][2].T)
    assert item["file_name"] == f"{file}#3"
    assert "depth" not in dataset.unlabelled(0)


def test_splits(file):
    train, test = NYUDepthMat(file, "train"), NYUDepthMat(file, "test")
    assert [train.file_name(i)[-2:] for i in range(2)] == ["#2", "#4"]
    assert [test.file_name(i)[-2:] for i in range(2)] == ["#1", "#3"]
    assert test[1]["image_id"] == 1
    with pytest.raises(ValueError, match='split is "val"'):
        NYUDepthMat(file, "val")
    with pytest.raises(FileNotFoundError, match="give splits_file"):
        NYUDepthMat(file, "train", file.with_name("other.mat"))
    savemat(file.with_name("splits.mat"), {"trainNdxs": [[9]]})
    with pytest.raises(DataError, match="has 4 images, but its split names number 9"):
        NYUDepthMat(file, "train")


def test_raw_depth(file, caplog):
    assert not NYUDepthMat(file, raw=True).read_depth(0).any()
    assert "#1 has no known depth at all" in caplog.text


def test_other_files_are_refused(file, tmp_path):
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match=r"x\.mat is not the labelled NYU data set"):
        NYUDepthMat(tmp_path / "x.mat")
    with pytest.raises(FileNotFoundError, match=r"y\.mat does not exist; set it to nyu_depth_v2_labeled\.mat"):
        NYUDepthMat(tmp_path / "y.mat")


def test_without_the_library(tmp_path, monkeypatch):
    normal = builtins.__import__

    def refuse(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return normal(name, *rest)

    (tmp_path / "x.mat").touch()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match="NYUDepthMat needs h5py: pip install h5py"):
        NYUDepthMat(tmp_path / "x.mat")
