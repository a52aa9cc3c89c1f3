"""What it costs to probe all layers of an encoder instead of one: a small run from the data to the scores."""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchmarks.timing import interleaved, ratio_row
from torch import nn

from pe_dense.data import (
    DepthList,
    FixedSizeCrop,
    SemSegFolder,
    VideoFolder,
    build_test_loader,
    build_train_loader,
    write_indexed_png,
)
from pe_dense.engine import AdamW
from pe_dense.engine.inference import run_inference
from pe_dense.evaluation import DepthEvaluator, Evaluator, LayerEvaluator, SemSegEvaluator
from pe_dense.evaluation.vos import plan_scoring
from pe_dense.modeling.backbone import EncoderFeatures, LayerProbe, pe_spatial_b16_512, pe_spatial_t16_512
from pe_dense.modeling.depth import build_linear_depth
from pe_dense.modeling.segmentation import SegInference, build_linear_segmenter
from pe_dense.modeling.tracking import LabelPropagation, TrackerProbe, VideoObjectTracker
from pe_dense.prediction.track_probing import score_sequence

CLASSES = [f"class {i}" for i in range(150)]
STEPS, BATCH, TESTED = 3, 4, 2  # six images are trained on for one that is tested
VIDEO_FRAMES = 24  # the queue of seven is full in two thirds of them


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the benchmark table, with one thread; ``quick`` takes small images."""
    torch.set_num_threads(1)
    logging.getLogger("pe_dense").setLevel(logging.ERROR)
    height, width = (96, 128) if quick else (480, 640)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), height, width)
        for task in ("depth", "segmentation"):
            candidates = {}
            for name, layers in (("one", [11]), ("all", list(range(12)))):
                model, loaders, evaluator = parts(task, Path(folder), layers, quick)
                candidates[name] = partial(probe, model, *loaders, evaluator)
            seconds = interleaved(candidates, 1 if quick else 3)
            rows.append(
                ratio_row(
                    f"linear {task} probe of 12 layers, PE-Spatial B, {height} x {width} px, whole run",
                    "the same of the last layer alone", seconds["all"], seconds["one"], 1 / 2.5,
                    note=f"{seconds['all'] / seconds['one']:.2f} times the time",
                )
            )  # fmt: skip
        rows += track(Path(folder) / "videos", quick)
    return rows


def track(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Rows about following objects: frames read, tracked and scored."""
    frames, height, width = (4, 96, 128) if quick else (VIDEO_FRAMES, 480, 854)
    write_video(folder, frames, height, width)
    data = VideoFolder(folder / "masks", folder / "images")
    [(name, plan)] = plan_scoring(data).items()
    rows = []
    for size, build in (("T", pe_spatial_t16_512), ("B", pe_spatial_b16_512)):
        torch.manual_seed(0)
        encoder = build()
        propagation = LabelPropagation(short_side=96) if quick else LabelPropagation.dino()
        candidates = {}
        for what, layers in (("one", [-1]), ("all", None)):
            model = TrackerProbe(VideoObjectTracker(EncoderFeatures(encoder, [-1]), propagation), layers).eval()
            candidates[what] = partial(score_sequence, model, data.select([name])[0], plan, "fp32")
        seconds = interleaved(candidates, 1 if quick else 2)
        rows.append(
            ratio_row(
                f"tracking probe of 12 layers, PE-Spatial {size}, {frames} frames of {height} x {width} px, 2 objects",
                "the same of the last layer alone", seconds["all"], seconds["one"], 1 / 2.5,
                note=f"{seconds['all'] / seconds['one']:.2f} times the time",
            )
        )  # fmt: skip
    return rows


def write_video(folder: Path, frames: int, height: int, width: int) -> None:
    """A smooth picture that moves, with the masks of two squares."""
    rng = np.random.default_rng(0)
    still = np.stack([cv2.resize(rng.uniform(0, 255, (12, 16)), (width, height)) for _ in range(3)], -1)
    masks = np.zeros((height, width), np.uint8)
    masks[height // 8 : height // 2, width // 8 : width // 3] = 1
    masks[height // 2 : 7 * height // 8, width // 2 : 3 * width // 4] = 2
    (folder / "images" / "video").mkdir(parents=True)
    for i in range(frames):
        picture = np.roll(still, 4 * i, 1).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / "video" / f"{i:05d}.jpg"), picture)
        write_indexed_png(folder / "masks" / "video" / f"{i:05d}.png", np.roll(masks, 4 * i, 1))


def parts(task: str, folder: Path, layers: list[int], quick: bool) -> tuple[LayerProbe, tuple[Any, Any], Evaluator]:
    """Model, training and test loader, and evaluator."""
    torch.manual_seed(0)
    neck = EncoderFeatures(pe_spatial_b16_512(), [11], trainable_blocks=0)
    crop = 64 if quick else 512
    evaluator: Evaluator
    data: DepthList | SemSegFolder
    model: nn.Module
    if task == "depth":
        data = DepthList(str(folder / "images"), str(folder / "depth"), scale=1000)
        evaluator, model = DepthEvaluator(data), build_linear_depth(neck, flip_test=True)
        size = [64, 96] if quick else [416, 544]
    else:
        data = SemSegFolder(folder / "images", folder / "labels", CLASSES)
        inference = SegInference(crop=crop, stride=2 * crop // 3)
        evaluator, size = SemSegEvaluator(data, boundary=None), [crop, crop]
        model = build_linear_segmenter(neck, len(CLASSES), norm="sync_bn", inference=inference)
    train = build_train_loader(data, [FixedSizeCrop(size)], BATCH, num_workers=0)
    return LayerProbe(model, layers), (train, build_test_loader(data, [], 1, 0)), LayerEvaluator(evaluator)


def probe(model: LayerProbe, train: Any, test: Any, evaluator: Evaluator) -> None:
    """Train some steps and evaluate."""
    optimizer = AdamW(lr=1e-3)(model)
    batches = train.iterate(0)
    model.train()
    for _ in range(STEPS):
        torch.stack(list(model(next(batches)).values())).sum().backward()
        for part in model.separate_parts():
            nn.utils.clip_grad_norm_(part.parameters(), 35.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    run_inference(model, test, evaluator, torch.device("cpu"))


def write_images(folder: Path, height: int, width: int) -> None:
    """As many pictures with depth and labels as are tested."""
    rng = np.random.default_rng(0)
    smooth = lambda low, high: cv2.resize(rng.uniform(low, high, (12, 16)), (width, height))
    for i in range(TESTED):
        pictures = {
            "images": np.stack([smooth(0, 255)] * 3, -1).astype(np.uint8),
            "depth": smooth(500, 9500).astype(np.uint16),
            "labels": smooth(0, 150).astype(np.uint8),
        }
        for name, pixels in pictures.items():
            (folder / name).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / name / f"{i}.png"), pixels)
