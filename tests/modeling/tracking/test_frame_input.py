"""Geometry of the two protocols, frames and given masks."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pe_dense.modeling.tracking import LabelPropagation
from pe_dense.modeling.tracking.frame_input import encoder_input, frame_size, input_size, object_masks, resize_nearest

MEAN, STD = (123.675, 116.28, 103.53), (58.14, 57.12, 57.375)  # DINO's script: the first deviation is .228


def test_dinos_geometry(fixtures):
    """Square frames are left out of the mask's side: the script turns the grid of the mask, not that of the image."""
    geometry = json.loads((fixtures / "davis_labelprop" / "meta.json").read_text())["geometry"]
    ones = geometry.pop("normalise_of_ones")
    assert len(geometry) >= 6
    for name, expected in geometry.items():
        size = tuple(map(int, name.split("x")))
        assert input_size(size, LabelPropagation.dino(), 16) == tuple(expected["input_hw"])
        for patch in (8, 14, 16):
            height, width = input_size(size, LabelPropagation.dino(), patch)
            grid = [height // patch, width // patch]
            assert grid == (expected[f"seg_grid_patch{patch}"][:: -1 if size[0] == size[1] else 1])
            assert (height % patch, width % patch) == (0, 0)
    white = np.full((480, 640, 3), 255, np.uint8)
    image = encoder_input(white, (480, 640), LabelPropagation.dino(), MEAN, STD, torch.device("cpu"))
    np.testing.assert_allclose(image[0, :, 0, 0], ones[:1] + ones[1:], rtol=0.02)
    np.testing.assert_allclose(image[0, :, 5, 7], ones, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "patch", "expected"),
    [
        ((480, 854), 16, (960, 1712)),
        ((480, 854), 14, (966, 1708)),
        ((854, 480), 16, (1712, 960)),
        ((9, 9), 16, (960,) * 2),
    ],
)
def test_dinov3s_geometry(size, patch, expected):
    assert input_size(size, LabelPropagation.dinov3(), patch) == expected


@pytest.mark.parametrize("settings", [LabelPropagation.dino(), LabelPropagation.dinov3()])
def test_pixels(settings):
    frame = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    frame = cv2.GaussianBlur(frame, (0, 0), 4)
    image = encoder_input(frame, (30, 45), settings, (127.5,) * 3, (127.5,) * 3, torch.device("cpu"))
    tensor = torch.from_numpy(frame).permute(2, 0, 1)
    again = encoder_input(tensor, (30, 45), settings, (127.5,) * 3, (127.5,) * 3, torch.device("cpu"))
    assert torch.equal(image, again)
    pixels = image[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
    if settings.interpolation == "linear":
        expected = cv2.resize(frame, (45, 30))
    else:
        expected = np.asarray(Image.fromarray(frame).resize((45, 30), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(pixels, expected, atol=0.001 if settings.interpolation == "linear" else 1.2)


@pytest.mark.parametrize(
    ("old", "new"), [((480, 854), (30, 52)), ((480, 832), (480, 854)), ((7, 5), (3, 11)), ((1, 9), (4, 2))]
)
def test_nearest_is_pillows(old, new):
    labels = np.random.default_rng(0).integers(0, 9, old).astype(np.uint8)
    expected = np.asarray(Image.fromarray(labels).resize(new[::-1], Image.Resampling.NEAREST))
    assert np.array_equal(resize_nearest(torch.from_numpy(labels), new), expected)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 3)),
        torch.zeros(4, 5, 3, dtype=torch.uint8),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_no_frames(frame):
    with pytest.raises(TypeError, match="a frame must be an H x W x 3 uint8 RGB array"):
        frame_size(frame)


def test_masks():
    ids = np.array([[0, 300], [7, 0]])
    for masks in (ids, ids.astype(np.uint16), torch.from_numpy(ids)):
        assert torch.equal(object_masks(masks, (2, 2)), torch.from_numpy(ids))
    assert object_masks(ids > 0, (2, 2)).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ValueError, match="the masks are 2 x 2 but their frame is 3 x 2"):
        object_masks(ids, (3, 2))
    with pytest.raises(ValueError, match="the id -1"):
        object_masks(ids - 1, (2, 2))
    with pytest.raises(TypeError, match="must be H x W integers"):
        object_masks(ids.astype(float), (2, 2))
    with pytest.raises(TypeError, match="must be H x W integers"):
        object_masks(ids[None], (2, 2))
