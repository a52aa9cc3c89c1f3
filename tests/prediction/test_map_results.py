"""Depth and labels of images and videos: files, pictures, and what reads them."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pe_dense.data import DepthList, SemSegFolder
from pe_dense.evaluation import DenseResults, DepthEvaluator, evaluate_dense_results
from pe_dense.modeling.depth import DepthEstimator
from pe_dense.prediction import Predictor, VideoReader, predict_files
from pe_dense.structures import Categories
from pe_dense.visualization import Intrinsics

from .conftest import CATEGORIES, SquareFinder, write_image

LABELS = ("floor", "square")


class Maps(nn.Module):
    """Depth that grows by 0.1 m per column from 1 m on, bright pixels as class 1, and perhaps the bright square."""

    def __init__(self, *tasks: str) -> None:
        super().__init__()
        self.tasks = tasks

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        outputs = []
        for sample in batch:
            grey = sample["image"].float().mean(0)
            everything = {
                "instances": SquareFinder.find(sample),
                "depth": 1 + 0.1 * torch.arange(grey.shape[1]).expand(grey.shape),
                "sem_seg": (grey > 128).long(),
            }
            outputs.append({task: everything[task] for task in self.tasks})
        return outputs


def predictor_of(*tasks: str, categories: Categories | None = None) -> Predictor:
    return Predictor(Maps(*tasks), [], categories, "cpu", score_threshold=0.5)


def index_of(folder: Path) -> Any:
    return json.loads((folder / "predictions.json").read_text(encoding="utf-8"))


def test_depth_is_a_png_that_the_readers_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    images = [write_image(tmp_path / "in" / name) for name in ("a/x.jpg", "b/x.jpg", "b/x.png")]
    report = predict_files(predictor_of("depth"), [tmp_path / "in" / "**" / "*"], tmp_path / "out", batch_size=2)
    assert report.json_files == [tmp_path / "out" / "depth" / "predictions.json"]
    assert "depth in 3 images" in caplog.text
    assert not (tmp_path / "out" / "predictions.json").exists()
    index = index_of(tmp_path / "out" / "depth")
    assert [row["file"] for row in index["images"]] == ["a/x.png", "b/x_jpg.png", "b/x_png.png"]
    assert {(row["scale"], row["offset"]) for row in index["images"]} == {(256.0, 0.0)}
    file = tmp_path / "out" / "depth" / "b" / "x_png.png"
    values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    expected = 1 + 0.1 * np.arange(64, dtype=np.float32)
    np.testing.assert_allclose(values[7] / 256, expected, atol=0.002)
    (tmp_path / "list.csv").write_text(f"image,depth,scale\n{images[2]},{file},256\n")
    np.testing.assert_allclose(DepthList(tmp_path / "list.csv").read_depth(0)[7], expected, atol=0.002)
    assert [path.name for path in report.written] == ["x.png", "x_jpg.png", "x_png.png"]
    picture = cv2.imread(str(report.written[0]))
    assert picture.shape[0] == 480
    assert picture.shape[1] > 2 * 640  # the image, and the depth with its scale


@pytest.mark.parametrize("depth_format", ["png", "npy"])
@pytest.mark.parametrize("moved", [False, True])
def test_saved_depth_is_scored_by_file_name(tmp_path: Path, depth_format: Any, moved: bool) -> None:
    for name in ("a.png", "b.png", "z.png"):
        write_image(tmp_path / "in" / name)
    predict_files(predictor_of("depth"), [tmp_path / "in"], tmp_path / "out", depth_format=depth_format, draw=False)
    if moved:
        (tmp_path / "in").rename(tmp_path / "moved")
    images = tmp_path / ("moved" if moved else "in")
    (images / "z.png").unlink()  # predicted, but not in the data set
    for name in ("a", "b"):
        depth = np.broadcast_to((1 + 0.1 * np.arange(64)) * 1.25, (48, 64)).astype(np.float32)
        (tmp_path / "truth").mkdir(exist_ok=True)
        np.save(tmp_path / "truth" / f"{name}.npy", depth)
    evaluator = DepthEvaluator(DepthList(images, tmp_path / "truth"))
    scores = evaluate_dense_results(evaluator, tmp_path / "out" / "depth")
    assert scores["depth/images"] == 2
    assert scores["depth/abs_rel"] == pytest.approx(0.2, abs=1e-3 if depth_format == "png" else 1e-6)
    assert sorted(p.suffix for p in (tmp_path / "out" / "depth").iterdir()) == sorted(
        [f".{depth_format}"] * 3 + [".json"]
    )


def test_predictions_of_other_images_are_not_scored(tmp_path: Path) -> None:
    for name in ("1/a.png", "2/a.png"):
        write_image(tmp_path / "in" / name)
    predict_files(predictor_of("depth"), [tmp_path / "in" / "*" / "*"], tmp_path / "out", draw=False)
    (tmp_path / "truth").mkdir()
    for name, message in (("a", "a.png is the name of several images"), ("c", "none of the images is in the data set")):
        image = write_image(tmp_path / "other" / f"{name}.png")
        np.save(tmp_path / "truth" / f"{name}.npy", np.ones((48, 64), np.float32))
        data = DepthList(tmp_path / "other", tmp_path / "truth")
        with pytest.raises(ValueError, match=message):
            DenseResults(tmp_path / "out" / "depth").match_data(data)
        image.unlink()
        (tmp_path / "truth" / f"{name}.npy").unlink()


def test_labels_are_an_index_png_that_the_readers_take(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "x.png", left=5, top=6)
    predictor = predictor_of("sem_seg", categories=Categories((0, 1), LABELS))
    report = predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert index_of(tmp_path / "out" / "sem_seg")["classes"] == list(LABELS)
    labels = SemSegFolder(tmp_path / "in", tmp_path / "out" / "sem_seg", LABELS).read_sem_seg(0)
    assert labels.sum() == 80
    assert labels[6:14, 5:15].all()
    picture = cv2.imread(str(report.written[0]))
    assert 640 < picture.shape[1] < 1000  # the overlay, and the list of classes


def test_all_tasks_of_a_video(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    video = write_video(tmp_path / "in" / "clip.avi", frames=7)
    predictor = predictor_of("instances", "depth", "sem_seg", categories=CATEGORIES)
    predictor.label_names = LABELS
    report = predict_files(predictor, [video], tmp_path / "out", every=3, batch_size=2)
    assert str(report) == "3 objects, depth, labels in 3 frames of videos"
    assert [path.relative_to(tmp_path / "out").as_posix() for path in report.json_files] == [
        "predictions.json", "depth/predictions.json", "sem_seg/predictions.json",
    ]  # fmt: skip
    for task in ("depth", "sem_seg"):
        rows = index_of(tmp_path / "out" / task)["images"]
        assert [row["file_name"] for row in rows] == ["clip.avi#0", "clip.avi#3", "clip.avi#6"]
        assert [row["file"] for row in rows] == [f"clip.avi/{n:06d}.png" for n in (0, 3, 6)]
        assert all((tmp_path / "out" / task / row["file"]).is_file() for row in rows)
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]) == 3
    with VideoReader(report.written[0]) as drawn:
        assert drawn.size[0] == 480
        assert drawn.size[1] > 3 * 640
        assert len(list(drawn)) == 3


@pytest.mark.parametrize("camera", [60.0, Intrinsics(55.4256, 55.4256, 31.5, 23.5)])
def test_point_clouds(tmp_path: Path, camera: Any) -> None:
    image = write_image(tmp_path / "in" / "x.png")
    report = predict_files(predictor_of("depth"), [image], tmp_path / "out", draw=False, camera=camera)
    assert report.written == [tmp_path / "out" / "point_clouds" / "x.ply"]
    content = report.written[0].read_bytes()
    assert b"element vertex 3072" in content
    first = np.frombuffer(content.split(b"end_header\n")[1][:12], "<f4")
    np.testing.assert_allclose(first, [-31.5 / 55.4256, -23.5 / 55.4256, 1], rtol=1e-4)


def test_depth_without_unit(tmp_path: Path) -> None:
    class Relative(DepthEstimator):
        def forward(self, batch: Any) -> Any:
            return [{"depth": 0.3 * torch.arange(64.0).expand(48, 64)} for _ in batch]

    losses = {"loss": nn.Identity()}
    model = Relative(nn.Identity(), nn.Identity(), losses, output="relative_disparity")
    model.register_buffer("place", torch.zeros(1))
    image = write_image(tmp_path / "in" / "x.png")
    predictor = Predictor(model, device="cpu")
    predict_files(predictor, [image], tmp_path / "out")
    index = index_of(tmp_path / "out" / "depth")
    assert index["metric"] is False
    values = cv2.imread(str(tmp_path / "out" / "depth" / "x.png"), cv2.IMREAD_UNCHANGED)[0]
    row = index["images"][0]
    np.testing.assert_allclose(values / row["scale"] + row["offset"], 0.3 * np.arange(64), atol=1e-3)
    with pytest.raises(ValueError, match="need depth in metres, the model predicts relative_disparity"):
        predict_files(predictor, [image], tmp_path / "out", camera=60.0)


class Broken(nn.Module):
    def forward(self, batch: Any) -> list[dict[str, Tensor]]:
        return [{"depth": torch.full((48, 64), torch.nan)} for _ in batch]


class Useless(nn.Module):
    def forward(self, batch: Any) -> list[dict[str, Tensor]]:
        return [{"normals": torch.zeros(3, 48, 64)} for _ in batch]


def test_unusable_models(tmp_path: Path) -> None:
    image = write_image(tmp_path / "in" / "x.png")
    for model, message in (
        (Broken(), "depth predicted for x.png contains NaN or infinity: the weights are unusable"),
        (Useless(), "the model predicts normals, not one of instances, depth, sem_seg"),
        (SquareFinder(), "the predictor has no class names"),
    ):
        with pytest.raises(ValueError, match=message):
            predict_files(Predictor(model, device="cpu"), [image], tmp_path / "out")
    with pytest.raises(ValueError, match="point clouds need depth, the model predicts sem_seg"):
        predict_files(predictor_of("sem_seg"), [image], tmp_path / "out", camera=60.0)


def test_wrong_arguments(tmp_path: Path) -> None:
    image = write_image(tmp_path / "x.png")
    for arguments, message in (
        ({"depth_format": "exr"}, "the depth format must be one of png, npy"),
        ({"depth_range": (5.0, 2.0)}, "must be ascending, it is 5 to 2"),
        ({"camera": 200.0}, "field of view must be between 0 and 180"),
    ):
        with pytest.raises(ValueError, match=message):
            predict_files(predictor_of("depth"), [image], tmp_path / "out", **arguments)


def test_no_input_and_no_picture_is_overwritten(tmp_path: Path) -> None:
    images = [write_image(tmp_path / folder / "x.png") for folder in ("data/depth", "data/rgb")]
    with pytest.raises(ValueError, match=r"depth/x.png would overwrite an input"):
        predict_files(predictor_of("depth"), [images[0]], tmp_path / "data", draw=False)
    write_image(tmp_path / "data" / "x.png")
    everything = [*images, tmp_path / "data" / "x.png"]
    with pytest.raises(ValueError, match=r"depth/x.png would be a picture and a map"):
        predict_files(predictor_of("depth"), everything, tmp_path / "out")
    assert len(predict_files(predictor_of("depth"), everything, tmp_path / "out", draw=False).json_files) == 1


class InterruptedAfterTwo(Maps):
    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 1:
            raise KeyboardInterrupt
        return super().forward(batch)


def test_interrupted(tmp_path: Path) -> None:
    images = [write_image(tmp_path / "in" / f"{i}.png") for i in range(4)]
    with pytest.raises(KeyboardInterrupt):
        predict_files(Predictor(InterruptedAfterTwo("depth"), device="cpu"), images, tmp_path / "out", batch_size=2)
    assert len(index_of(tmp_path / "out" / "depth")["images"]) == 2
