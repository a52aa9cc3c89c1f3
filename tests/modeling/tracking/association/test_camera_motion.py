from pathlib import Path

import cv2
import numpy as np
import pytest

from pe_dense.modeling.tracking.association import MotionFile, SparseFlow

NOBODY = np.zeros((0, 4))


def texture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(("size", "tolerance"), [((240, 320), 0.2), ((960, 1280), 0.6)])
def test_flow_finds_the_warp(size: tuple[int, int], tolerance: float) -> None:
    image = texture(*size)
    angle = 0.02
    true = np.array([[np.cos(angle), -np.sin(angle), 6.0], [np.sin(angle), np.cos(angle), -4.0]]) * [[1.01, 1.01, 1]]
    moved = cv2.warpAffine(image, true, size[::-1], borderMode=cv2.BORDER_REFLECT)
    # a person that covers a third of the image stays where it was in it
    person = np.array([[0.3 * size[1], 0.1 * size[0], 0.6 * size[1], 0.9 * size[0]]])
    x0, y0, x1, y1 = person[0].astype(int)
    moved[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    flow = SparseFlow()
    assert flow(0, image, person) is None
    warp = flow(1, moved, person)
    assert warp is not None
    corners = np.array([[0, 0, 1], [size[1], 0, 1], [0, size[0], 1], [size[1], size[0], 1]])
    assert abs(corners @ (warp - true).T).max() < tolerance


def test_flow_of_nothing() -> None:
    flow = SparseFlow()
    black, picture = np.zeros((100, 120, 3), dtype=np.uint8), texture(96, 120)
    assert [flow(i, image, NOBODY) for i, image in enumerate((black, black, picture, black))] == [None] * 4
    everywhere = np.array([[0.0, 0, 120, 96]])  # nothing but objects: then they are looked at
    flow(4, picture, everywhere)
    warp = flow(5, picture, everywhere)
    assert warp is not None
    np.testing.assert_allclose(warp, np.eye(2, 3), atol=1e-3)
    with pytest.raises(ValueError, match="there are none; give a file"):
        flow(6, None, NOBODY)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "GMC-MOT17-04.txt"
    path.write_text("1\t1.0\t0.0\t0.0\t0.0\t1.0\t0.0\n2\t1\t0\t5\t0\t1\t-2\n3\t2\t0\t1\t0\t2\t0\n\n")
    motion = MotionFile(path)
    assert motion(0, None, NOBODY) is None
    np.testing.assert_array_equal(motion(1, None, NOBODY), [[1, 0, 5], [0, 1, -2]])
    np.testing.assert_array_equal(motion(2, None, NOBODY), [[2, 0, 1], [0, 2, 0]])
    with pytest.raises(ValueError, match="has 3 lines, the video is longer"):
        motion(3, None, NOBODY)
    skipping = MotionFile(path)
    skipping(0, None, NOBODY)
    np.testing.assert_array_equal(skipping(2, None, NOBODY), [[2, 0, 11], [0, 2, -4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1 0 0 0 1 0\n2 1 0 0 0 1\n", "line 2: it has 6 numbers, not 7"),
        ("1 1 0 0 0 1 0\n1 1 0 0 0 1 0\n", "line 2: its frame is 1, 2 should follow"),
        ("1 1 0 x 0 1 0\n", "line 1: could not convert"),
        ("1 0 0 0 0 0 0\n", "line 1: the motion of the camera must be a finite, invertible"),
        ("\n", "is empty"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "motion.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"motion.txt.*{message}"):
        MotionFile(path)
    with pytest.raises(FileNotFoundError, match=r"nothing.txt does not exist"):
        MotionFile(tmp_path / "nothing.txt")
