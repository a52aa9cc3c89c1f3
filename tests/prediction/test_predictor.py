"""Prediction from a checkpoint alone, for every kind of image."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pe_dense import Predictor
from pe_dense.config import LazyCall as L
from pe_dense.config import to_yaml
from pe_dense.data import ResizeShortestEdge, read_image
from pe_dense.engine import Checkpoint, CheckpointError, save_checkpoint
from pe_dense.engine.checkpoint import find_checkpoint
from pe_dense.engine.sharded import CheckpointWriter
from pe_dense.prediction.images import as_tensor
from pe_dense.structures import Instances

CLASSES = [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}, {"id": 3, "name": "blue"}]


class BrightestChannel(nn.Module):
    """One object as large as the image; its class is the brightest channel, as long as the weights are the identity."""

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 3, bias=False)
        if weights is not None:
            raise FileNotFoundError(weights)

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        outputs = []
        for sample in batch:
            size = (sample["height"], sample["width"])
            scores = self.mix(sample["image"].float().mean((1, 2))).softmax(0)
            box = torch.tensor([[0.0, 0.0, size[1], size[0]]])
            outputs.append({"instances": Instances(size, box, scores.argmax()[None], scores.max()[None])})
        return outputs


def write_checkpoint(path: Path, step: int = 0) -> Path:
    cfg = {
        "model": L(BrightestChannel)(weights="nowhere.pt"),
        "dataloader": {"test": {"transforms": [L(ResizeShortestEdge)(short_edge_length=8, max_size=20)]}},
        "train": {"precision": "fp32"},
    }
    if path.suffix:
        save_checkpoint(Checkpoint(path, {"mix.weight": torch.eye(3)}, step, to_yaml(cfg), CLASSES, {}))
        return path
    tensors = {"model.mix.weight": torch.zeros(3, 3), "ema.mix.weight": torch.eye(3)}
    CheckpointWriter(path, 2).save(step, tensors, {}, {"step": step, "categories": CLASSES, "config": to_yaml(cfg)})
    return path / f"step_{step:08d}"


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return Predictor.from_checkpoint(write_checkpoint(tmp_path / "x.safetensors"), device="cpu")


def blue() -> np.ndarray:
    array = np.full((5, 9, 3), 60, dtype=np.uint8)
    array[..., 2] = 170
    return array


def test_every_kind_of_image_agrees(predictor: Predictor, tmp_path: Path) -> None:
    array, path = blue(), tmp_path / "blue.png"
    cv2.imwrite(str(path), array[..., ::-1])
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    images = [path, str(path), array, array[:, ::-1], tensor, Image.open(path), Image.fromarray(array)]
    assert predictor.categories is not None
    for found in [predictor(images[0]), *predictor.predict_batch(images)]:
        assert found.image_size == (5, 9)
        assert found.boxes.tolist() == [[0, 0, 9, 5]]
        assert found.classes is not None
        assert predictor.categories.names[int(found.classes[0])] == "blue"
    assert predictor.predict_batch([]) == []


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA", "I;16"])
def test_a_pil_image_is_what_its_file_is(mode: str, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    elif mode == "P":
        image = Image.fromarray(colours[..., :3]).quantize(16)
    else:
        image = Image.fromarray(colours, "RGBA").convert(mode)
    image.save(tmp_path / "x.png")
    assert torch.equal(as_tensor(Image.open(tmp_path / "x.png")), read_image(tmp_path / "x.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_is_turned_as_its_file_is(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)).save(tmp_path / "x.png", exif=exif)
    image = Image.open(tmp_path / "x.png")
    expected = read_image(tmp_path / "x.png")
    assert expected.shape == ((3, 6, 9) if orientation < 5 else (3, 9, 6))
    assert torch.equal(as_tensor(image), expected)
    assert torch.equal(as_tensor(image.convert("RGB")), expected)


def test_averaged_weights_and_threshold(predictor: Predictor) -> None:
    assert torch.equal(predictor.model.state_dict()["mix.weight"], torch.eye(3))
    predictor.score_threshold = 1.1
    assert len(predictor(blue())) == 0
    assert len(predictor.predict_batch([blue()], score_threshold=0.1)[0]) == 1


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), torch.zeros(4, 4, 3), [1], Image.new("F", (4, 4))],
)
def test_wrong_images(predictor: Predictor, image: Any) -> None:
    with pytest.raises(TypeError, match=r"expected|mode"):
        predictor(image)


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="nix does not exist"):
        Predictor.from_checkpoint(tmp_path / "nix")
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="run holds no checkpoint; give a checkpoint or"):
        find_checkpoint(run)
    for step in (9, 10):
        newest = write_checkpoint(run / "checkpoints", step)
    assert find_checkpoint(run) == find_checkpoint(run / "checkpoints") == find_checkpoint(newest) == newest
    assert len(Predictor.from_checkpoint(newest, device="cpu")(blue())) == 1
    best = write_checkpoint(run / "checkpoints" / "best.safetensors")
    os.utime(best, (1, 1))  # the age of the files does not matter
    assert find_checkpoint(run) == best
    assert len(Predictor.from_checkpoint(run, device="cpu")(blue())) == 1


def test_not_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt cannot be read: it is damaged or not a safetensors file"):
        Predictor.from_checkpoint(tmp_path / "x.pt")


class Brightness(nn.Module):
    """Depth that is the mean of the three colours, and the darkest pixels as class 0."""

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        grey = [sample["image"].float().mean(0) for sample in batch]
        return [{"depth": g, "sem_seg": (g > 100).long()} for g in grey]


def test_models_that_predict_maps() -> None:
    predictor = Predictor(Brightness(), device="cpu")
    images = [np.full((5, 7, 3), 90, dtype=np.uint8), np.full((4, 3, 3), 120, dtype=np.uint8)]
    outputs = predictor.predict_outputs(images)
    assert [tuple(o["depth"].shape) for o in outputs] == [(5, 7), (4, 3)]
    assert [int(o["sem_seg"].unique()) for o in outputs] == [0, 1]
    assert not outputs[0]["depth"].requires_grad
    assert predictor.predict_outputs([]) == []
    with pytest.raises(ValueError, match="predicts depth, sem_seg and no objects; call predict_outputs"):
        predictor(images[0])


def test_outputs_hold_objects_below_the_threshold(predictor: Predictor) -> None:
    predictor.score_threshold = 1.1
    assert len(predictor.predict_outputs([blue()])[0]["instances"]) == 1
