"""A model that finds one bright square, and files for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pe_dense.prediction import Predictor
from pe_dense.structures import Categories, Instances, RoiMasks

CATEGORIES = Categories((3, 7), ("cat", "dög"))


class SquareFinder(nn.Module):
    """Finds the bright pixels' bounding box as class 1, and a weak second object of class 0 at the top left."""

    num_classes = 2

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        return [{"instances": self.find(sample)} for sample in batch]

    @staticmethod
    def find(sample: dict[str, Any]) -> Instances:
        size = (sample["height"], sample["width"])
        ys, xs = torch.nonzero(sample["image"].float().mean(0) > 128, as_tuple=True)
        boxes = torch.tensor([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], [0, 0, 4, 3]]).float()
        masks = RoiMasks(torch.ones(2, 7, 7), boxes, size)
        return Instances(size, boxes, torch.tensor([1, 0]), torch.tensor([0.75, 0.25]), masks)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(SquareFinder(), [], CATEGORIES, "cpu", score_threshold=0.5)


def scene(left: int, top: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A dark RGB picture with a bright 10 x 8 (width x height) square."""
    image = np.full((*size, 3), 20, dtype=np.uint8)
    image[top : top + 8, left : left + 10] = 230
    return image


def write_image(path: Path, left: int = 5, top: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, scene(left, top))[1].tobytes())
    return path


@pytest.fixture
def write_video() -> Callable[..., Path]:
    def write(path: Path, frames: int = 9, fps: float = 12.5) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = "MJPG" if path.suffix in (".avi", ".mkv") else "mp4v"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
        for index in range(frames):
            writer.write(scene(2 * index, 6))
        writer.release()
        return path

    return write
