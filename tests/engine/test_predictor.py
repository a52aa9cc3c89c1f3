"""Prediction from a checkpoint alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from toy_run import make_config

from pe_dense.config import LazyCall as L
from pe_dense.data import ResizeShortestEdge
from pe_dense.engine import CheckpointError, Predictor, load_checkpoint, train


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    cfg = make_config(path, steps=60, checkpoint_steps=60, eval_period=0, ema_decay=0.5)
    cfg.dataloader.test.transforms = [L(ResizeShortestEdge)(short_edge_length=8, max_size=20)]
    train(cfg)
    return path / "checkpoints" / "step_00000060.pt"


def test_file_array_and_tensor_agree(checkpoint: Path, tmp_path: Path) -> None:
    array = np.full((5, 9, 3), 60, dtype=np.uint8)
    array[..., 2] = 170
    cv2.imwrite(str(tmp_path / "blue.png"), array[..., ::-1])
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    assert predictor.categories is not None
    images = [tmp_path / "blue.png", str(tmp_path / "blue.png"), array, torch.from_numpy(array).permute(2, 0, 1)]
    for found in [predictor(images[0]), *predictor.predict_batch(images)]:
        assert found.image_size == (5, 9)
        assert found.boxes.tolist() == [[0, 0, 9, 5]]
        assert predictor.categories.names[int(found.classes[0])] == "blue"
    assert predictor.predict_batch([]) == []


def test_averaged_weights_and_threshold(checkpoint: Path) -> None:
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu", score_threshold=1.1)
    average = load_checkpoint(checkpoint)["ema"]
    assert all(torch.equal(value, average[name]) for name, value in predictor.model.state_dict().items())
    assert len(predictor(np.zeros((4, 4, 3), dtype=np.uint8))) == 0


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), torch.zeros(4, 4, 3), [1, 2]]
)
def test_wrong_images(checkpoint: Path, image: object) -> None:
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    with pytest.raises(TypeError, match="expected"):
        predictor(image)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
        Predictor.from_checkpoint(tmp_path / "x.pt")
