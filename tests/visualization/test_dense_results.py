"""Sheets of depth and semantic segmentation with the ground truth."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from pe_dense.visualization import visualize_dense
from pe_dense.visualization.dense_errors import WRONG
from pe_dense.visualization.dense_results import draw_dense


@dataclass
class Compared:
    truth: np.ndarray
    prediction: np.ndarray
    scores: dict = field(default_factory=dict)
    error: float = float("nan")


class Images:
    def __init__(self, size=(60, 80), count=3):
        self.size, self.count = size, count

    def file_name(self, index):
        return f"/data/set/room{index % 2}/im{index}.jpg"

    def __getitem__(self, index):
        return {"image": np.full((*self.size, 3), 40 * index, dtype=np.uint8)}


def depth_of(index, size=(60, 80)):
    truth = np.full(size, 2.0, dtype=np.float32)
    truth[:10] = 0
    if index == 2:
        return Compared(truth * 0, truth + 1)
    error = 0.05 * (index + 1)
    return Compared(truth, truth * (1 + error) + 0.1, {"abs_rel": error, "rmse": 0.1, "delta1": 1.0}, error)


def labels_of(index, size=(60, 80)):
    truth = np.zeros(size, dtype=np.uint8)
    truth[:, 40:], truth[:5] = 1, 255
    prediction = truth.astype(np.int64)
    prediction[20:30] = 2
    return Compared(truth, prediction, {"mIoU": 0.5, "mAcc": 0.5, "aAcc": 0.8}, 0.2)


def test_pictures_in_order_of_error_without_ground_truth_last(tmp_path):
    written = visualize_dense(Images(), [0, 1, 2], depth_of, tmp_path / "out", sheet=True)
    names = [path.name for path in written]
    assert names == ["0000_room1_im1.png", "0001_room0_im0.png", "0002_room0_im2.png", "contact_sheet.png"]
    assert all(cv2.imread(str(path)) is not None for path in written)
    by_name = visualize_dense(Images(), [2, 1, 0], depth_of, tmp_path / "named", sort="name", num=2)
    assert [path.name for path in by_name] == ["0000_room0_im0.png", "0001_room0_im2.png"]


def test_one_sheet(tmp_path):
    file = tmp_path / "deep" / "sheet.png"
    assert visualize_dense(Images(), [0, 1], labels_of, file, names=["road", "sky", "car"]) == [file]
    picture = cv2.imread(str(file))[..., ::-1].astype(int)
    red = (np.abs(picture - WRONG).max(axis=2) < 90) & (picture[..., 0] > picture[..., 1] + 90)
    assert red[:, : picture.shape[1] // 2].sum() < red[:, 3 * picture.shape[1] // 4 :].sum()


@pytest.mark.parametrize("size", [(60, 80), (90, 40), (30, 200), (1, 1)])
def test_any_shape_of_image(size, tmp_path):
    for compared, names in ((depth_of(0, size), None), (labels_of(0, (60, 80)), ["a", "b", "c"])):
        image = np.zeros((*compared.truth.shape, 3), dtype=np.uint8)
        picture = draw_dense(image, compared, names, width=120)
        assert picture.dtype == np.uint8
        assert picture.shape[1] >= 240


def test_point_clouds_by_the_samples_camera(tmp_path):
    class Camera(Images):
        def __getitem__(self, index):
            return {
                **super().__getitem__(index),
                "focal_length": 50.0,
                **({"principal_point": (10, 20)} if index else {}),
            }

    for index, (cx, cy) in ((0, (39.5, 29.5)), (1, (10, 20))):
        folder = tmp_path / str(index)
        visualize_dense(Camera(), [index], depth_of, folder, point_clouds=True)
        (path,) = folder.glob("*_truth.ply")
        body = path.read_bytes().split(b"end_header\n", 1)[1]
        points = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])["xyz"]
        assert len(points) == 50 * 80  # without the ten rows that are not known
        np.testing.assert_allclose(points[0], [-cx / 50 * 2, (10 - cy) / 50 * 2, 2], rtol=1e-5)


def test_signed_error_and_rows_of_different_width(tmp_path):
    class Mixed(Images):
        def __getitem__(self, index):
            return {"image": np.zeros((*(((60, 80), (80, 60), (30, 200))[index]), 3), dtype=np.uint8)}

    sizes = ((60, 80), (80, 60), (30, 200))
    written = visualize_dense(
        Mixed(), [0, 1, 2], lambda i: depth_of(i, sizes[i]), tmp_path / "s.jpg", depth_error="signed"
    )
    assert cv2.imread(str(written[0])) is not None


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="there are no predictions to show"):
        visualize_dense(Images(), [], depth_of, tmp_path / "x.png")
    with pytest.raises(ValueError, match="sort must be 'error' or 'name', not 'score'"):
        visualize_dense(Images(), [0], depth_of, tmp_path / "x.png", sort="score")
