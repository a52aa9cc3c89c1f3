"""Depth and segmentation around their heads: memory of frozen training, cost of evaluation, batches of windows."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.memory import peak_memory, report
from benchmarks.probe import CLASSES, write_images
from benchmarks.timing import interleaved, ratio_row
from torch import nn

from pe_dense.data import DepthList, SemSegFolder, build_test_loader
from pe_dense.engine.inference import run_inference
from pe_dense.evaluation import DepthEvaluator, Evaluator, SemSegEvaluator
from pe_dense.modeling.backbone import (
    EncoderFeatures,
    PerceptionEncoder,
    pe_spatial_b16_512,
    pe_spatial_t16_512,
)
from pe_dense.modeling.depth import build_linear_depth
from pe_dense.modeling.segmentation import SegInference, build_linear_segmenter

ENCODERS = {"B": pe_spatial_b16_512, "T": pe_spatial_t16_512}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Rows of the benchmark table, with one thread; ``quick`` takes small images and PE-Spatial T."""
    torch.set_num_threads(1)
    logging.getLogger("pe_dense").setLevel(logging.ERROR)
    yield from training_memory(quick)
    yield from window_batches(quick)
    yield from evaluation_costs(quick)


class Timed:
    """An evaluator and the seconds that it took."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator, self.seconds = evaluator, 0.0

    def reset(self) -> None:
        """Start anew."""
        self.evaluator.reset()
        self.seconds = 0.0

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Take a batch."""
        start = time.perf_counter()
        self.evaluator.process(inputs, outputs)
        self.seconds += time.perf_counter() - start

    def evaluate(self) -> dict[str, float]:
        """Numbers."""
        start = time.perf_counter()
        numbers = self.evaluator.evaluate()
        self.seconds += time.perf_counter() - start
        return numbers


def encoder(size: str) -> PerceptionEncoder:
    """Random weights, the same in each call."""
    torch.manual_seed(0)
    return ENCODERS[size]()


def training_memory(quick: bool) -> list[dict[str, Any]]:
    """A training step of a head alone against fine-tuning, and against looking at the images without training."""
    size, side, images = ("T", 128, 1) if quick else ("B", 512, 2)
    mib = {kind: peak_memory("dense", kind, size, side, images)[0] for kind in ("forward", "frozen", "fine-tuned")}
    what = f"training step of a linear depth head, {images} images, {side} px, PE-Spatial {size} frozen: memory"
    return [
        ratio_row(f"{what} beside the model", against, mib["frozen"], mib[kind], target, "MiB")
        for kind, against, target in (
            ("forward", "the encoder's forward pass without gradients", None),
            ("fine-tuned", "the same step with the encoder training", 1.0),
        )
    ]


def report_memory(kind: str, size: str, side: int, images: int) -> None:
    """Print what :func:`benchmarks.memory.peak_memory` reads."""
    torch.set_num_threads(1)
    neck = EncoderFeatures(encoder(size), [11], trainable_blocks=None if kind == "fine-tuned" else 0)
    model = build_linear_depth(neck)
    samples = [
        {"image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8), "depth": torch.full((side, side), 3.0)}
        for _ in range(images)
    ]
    small = [{name: value[..., :64, :64] for name, value in sample.items()} for sample in samples[:1]]

    def step(batch: list[dict[str, Any]]) -> None:
        if kind == "forward":
            with torch.no_grad():
                neck(model.preprocess(batch).tensor)
        else:
            torch.stack(list(model(batch).values())).sum().backward()

    step(small)  # what the libraries set up once; gradients of the weights, which are there from then on
    report(partial(step, samples))


def evaluation_costs(quick: bool) -> Iterator[dict[str, Any]]:
    """Inference with its evaluator, which reads the ground truth, against inference alone."""
    height, width = (96, 128) if quick else (480, 640)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, height, width)
        depth = DepthList(folder / "images", folder / "depth", scale=1000)
        labels = SemSegFolder(folder / "images", folder / "labels", CLASSES)
        for size in ("T",) if quick else ("T", "B"):
            neck = EncoderFeatures(encoder(size), [11], trainable_blocks=0)
            cases: dict[str, tuple[nn.Module, Any, Evaluator]] = {
                "depth": (build_linear_depth(neck), depth, DepthEvaluator(depth)),
                "segmentation": (build_linear_segmenter(neck, len(CLASSES)), labels, SemSegEvaluator(labels)),
            }
            for task, (model, data, evaluator) in cases.items():
                alone, added = inference_seconds(model, data, evaluator, 2 if quick else 5)
                yield ratio_row(
                    f"linear {task}, PE-Spatial {size}, {height} x {width} px, an image: inference and evaluation",
                    "inference alone", alone + added, alone, 1 / 1.1, note=f"{added / alone:+.1%}",
                )  # fmt: skip


def inference_seconds(model: nn.Module, data: Any, evaluator: Evaluator, repeats: int) -> tuple[float, float]:
    """Median seconds an image of all but the evaluator, and of the evaluator; the first run does not count."""
    timed, loader = Timed(evaluator), build_test_loader(data, [], 1, 0)
    alone, added = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        run_inference(model, loader, timed, torch.device("cpu"))
        alone.append((time.perf_counter() - start - timed.seconds) / len(data))
        added.append(timed.seconds / len(data))
    return median(alone[1:]), median(added[1:])


def window_batches(quick: bool) -> Iterator[dict[str, Any]]:
    """Eight windows in one pass against one at a time."""
    cases = [("T", 64, 224)] if quick else [("T", 64, 224), ("T", 128, 448), ("T", 512, 853)]
    for size, crop, side in cases:
        neck = EncoderFeatures(encoder(size), [11], trainable_blocks=0)
        sample = {"image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8)}
        models = {}
        for batch_size in (1, 8):
            settings = SegInference(crop=crop, stride=2 * crop // 3, batch_size=batch_size)
            models[batch_size] = build_linear_segmenter(neck, len(CLASSES), inference=settings).eval()
        count = len(settings.windows(side, side))
        seconds = interleaved({str(n): partial(model, [sample]) for n, model in models.items()}, 1 if quick else 3)
        yield ratio_row(
            f"{count} windows of {crop} px in batches of 8, PE-Spatial {size}, {len(CLASSES)} classes",
            "one window at a time", seconds["8"], seconds["1"], 1.5,
        )  # fmt: skip
